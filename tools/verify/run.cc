#include "tools/verify/run.h"

#include <algorithm>
#include <utility>

#include "fmt/format.h"
#include "tools/io/interrupt.h"
#include "tp/verify/compare.h"
#include "tp/verify/exact.h"

namespace tp::verifier {
namespace {

// The problem of the exact lane with the most steps, up to those of the run: narrow types hold few.
StatusOr<verify::LinearProblem> MakeExact(const bench::BenchOptions& engine,
                                          const verify::SampleOptions& sample) {
  verify::ExactSpec spec{.tokens = engine.tokens,
                         .in_features = engine.in_features,
                         .out_features = engine.out_features,
                         .dtype = engine.dtype,
                         .steps = engine.steps,
                         .seed = engine.seed,
                         .tp = engine.tp,
                         .dp = engine.dp};
  StatusOr<verify::LinearProblem> problem = verify::MakeExactProblem(spec, sample);
  while (!problem.ok() && spec.steps > 1) {
    --spec.steps;
    problem = verify::MakeExactProblem(spec, sample);
  }
  return problem;
}

StatusOr<LaneRun> RunExact(Backend& backend, const bench::BenchOptions& engine,
                           const verify::LinearProblem& problem) {
  LaneRun run;
  run.lane = verify::Lane::kExact;
  if (engine.tf32) {
    run.inputs = "not run: tf32 rounds what it multiplies";
    return run;
  }
  const verify::SampleOptions sample = bench::VerifyOptionsOf(engine, verify::Lane::kExact).sample;
  const Status why =
      verify::CheckExact(problem, verify::ChooseSample(problem, engine.tp, engine.dp, sample));
  if (why.ok()) {
    run.inputs = "these tensors, which leave no room for rounding";
    TP_ASSIGN_OR_RETURN(
        run.result, bench::RunBench(backend, engine, bench::DataOf(problem, verify::Lane::kExact)));
    return run;
  }
  StatusOr<verify::LinearProblem> integers = MakeExact(engine, sample);
  if (!integers.ok()) {
    run.inputs = "not run: " + integers.status().message();
    return run;
  }
  bench::BenchOptions exact = engine;
  exact.steps = integers->steps;
  exact.learning_rate = integers->learning_rate;
  run.inputs = fmt::format(
      "integers of the same sizes, {} step{}, lr {}, loss scale {}, because these tensors leave "
      "room for rounding ({})",
      exact.steps, exact.steps == 1 ? "" : "s", exact.learning_rate, integers->scale(),
      why.message());
  TP_ASSIGN_OR_RETURN(
      run.result,
      bench::RunBench(backend, exact, bench::DataOf(*std::move(integers), verify::Lane::kExact)));
  return run;
}

StatusOr<LaneRun> RunLane(Backend& backend, const bench::BenchOptions& engine,
                          const verify::LinearProblem& problem, verify::Lane lane) {
  if (lane == verify::Lane::kExact) return RunExact(backend, engine, problem);
  LaneRun run{.lane = lane, .inputs = "these tensors", .result = {}};
  TP_ASSIGN_OR_RETURN(run.result, bench::RunBench(backend, engine, bench::DataOf(problem, lane)));
  return run;
}

}  // namespace

verify::Outcome VerifierResult::outcome() const {
  verify::Outcome gravest = verify::Outcome::kOk;
  for (const LaneRun& run : lanes) {
    gravest = Worse(gravest, run.result ? run.result->outcome() : verify::Outcome::kUndecided);
  }
  if (invariant && !invariant->ok()) return verify::Outcome::kFail;
  if (op_by_op) gravest = Worse(gravest, op_by_op->outcome());
  return expected ? Worse(gravest, expected->outcome()) : gravest;
}

StatusOr<VerifierResult> RunVerifier(Backend& backend, const VerifierOptions& options,
                                     const UserTensors& tensors, const RunHooks& hooks) {
  VerifierResult result;
  // Before the long work: results that can't be read.
  std::optional<verify::Observed> results;
  if (!options.expect.empty() && backend.IsRoot()) {
    TP_ASSIGN_OR_RETURN(results, LoadResults(options, tensors));
  }
  io::WriteOnInterrupt guard(result, hooks.interrupted);
  for (verify::Lane lane : options.lanes) {
    io::ProgressStage stage(hooks.progress, fmt::format("{} lane", Name(lane)));
    TP_ASSIGN_OR_RETURN(LaneRun run, RunLane(backend, options.engine, tensors.problem, lane));
    const auto lock = guard.Hold();
    result.lanes.push_back(std::move(run));
    if (hooks.lane_done && backend.IsRoot()) hooks.lane_done(result.lanes.back());
  }
  if (options.invariant) {
    io::ProgressStage stage(hooks.progress, "invariant lane");
    TP_ASSIGN_OR_RETURN(InvariantResult invariant,
                        RunInvariant(backend, options.engine, tensors.problem));
    const auto lock = guard.Hold();
    result.invariant = std::move(invariant);
    if (hooks.invariant_done && backend.IsRoot()) hooks.invariant_done(*result.invariant);
  }
  if (options.op_by_op) {
    io::ProgressStage stage(hooks.progress, "op by op");
    TP_ASSIGN_OR_RETURN(OpByOpResult op_by_op, RunOpByOp(backend, options.engine, tensors.problem));
    const auto lock = guard.Hold();
    result.op_by_op = std::move(op_by_op);
    if (hooks.op_by_op_done && backend.IsRoot()) hooks.op_by_op_done(*result.op_by_op);
  }
  if (!results) return result;
  const LinearMode mode = options.engine.modes[0];
  io::ProgressStage stage(hooks.progress, "your results");
  TP_ASSIGN_OR_RETURN(
      verify::Report expected,
      verify::VerifyLinear(tensors.problem, *results, bench::ModelOf(options.engine, mode),
                           bench::VerifyOptionsOf(options.engine, verify::Lane::kBounded)));
  expected.title = fmt::format("the results in {}, {}", options.expect, expected.title);
  const auto lock = guard.Hold();
  result.expected = std::move(expected);
  return result;
}

}  // namespace tp::verifier
