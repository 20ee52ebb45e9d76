#include "tools/verify/model.h"

#include <algorithm>
#include <utility>

#include "fmt/format.h"
#include "tools/io/interrupt.h"
#include "tools/io/memory.h"
#include "tools/train/model_step.h"
#include "tools/verify/model_invariant.h"
#include "tools/verify/op_by_op.h"
#include "tp/verify/observe.h"

namespace tp::verifier {
namespace {

// Puts what a lane found into the result.
using Keep = std::function<void(ModelLane, const std::function<void(ModelResult&)>& set)>;

// In the lanes that look at each op, which judge one observation.
Status RunByOps(Backend& backend, const VerifierOptions& options, io::Progress* progress,
                const Keep& keep) {
  const bench::BenchOptions& engine = options.engine;
  std::optional<io::ProgressStage> stage(std::in_place, progress, "the step");
  TP_ASSIGN_OR_RETURN(const Mesh mesh, Mesh::Create(engine.tp, engine.dp));
  TP_ASSIGN_OR_RETURN(train::ModelStep step, train::DrawModelStep(mesh, options.model, engine));
  if (engine.backend == "sim") {
    TP_ASSIGN_OR_RETURN(const double bytes, verify::BytesToObserve(backend, mesh, step.program));
    TP_RETURN_IF_ERROR(
        io::CheckFits(bytes + io::kBytesOfARanksThreads * mesh.world(),
                      fmt::format("the values of a step on {} ranks", mesh.world()),
                      "take fewer ranks, --batch or --sequence, or a smaller model"));
  }
  TP_RETURN_IF_ERROR(train::LoadWeights(backend, mesh, options.model, step));
  TP_ASSIGN_OR_RETURN(const verify::ObservedValues observed,
                      verify::Observe(backend, mesh, step.program, step.sources,
                                      {.steps_before = engine.steps - 1}));
  if (!backend.IsRoot()) return OkStatus();
  const auto judge = [&](verify::Lane lane) -> Status {
    stage.reset();
    stage.emplace(progress, "op by op", std::ssize(step.program.values()));
    verify::OpByOpOptions how = OpByOpOptionsOf(engine, LinearMode::kRow);
    how.lane = lane;
    if (progress != nullptr) {
      how.progress = [progress](int64_t done) { progress->Update("op by op", done); };
    }
    TP_ASSIGN_OR_RETURN(verify::OpByOpReport report,
                        verify::VerifyOpByOp(step.program, mesh, observed, how));
    stage.reset();
    const bool exact = lane == verify::Lane::kExact;
    keep(exact ? ModelLane::kExact : ModelLane::kOps,
         [&](ModelResult& result) { (exact ? result.exact : result.ops) = std::move(report); });
    return OkStatus();
  };
  if (options.op_by_op) TP_RETURN_IF_ERROR(judge(verify::Lane::kBounded));
  const bool exact = std::ranges::count(options.lanes, verify::Lane::kExact) > 0;
  return exact ? judge(verify::Lane::kExact) : OkStatus();
}

}  // namespace

verify::Outcome ModelResult::outcome() const {
  verify::Outcome gravest = verify::Outcome::kOk;
  for (const auto* report : {&ops, &exact}) {
    if (*report) gravest = Worse(gravest, (*report)->outcome());
  }
  return invariant && !invariant->ok() ? verify::Outcome::kFail : gravest;
}

StatusOr<ModelResult> RunModel(Backend& backend, const VerifierOptions& options,
                               const ModelHooks& hooks) {
  ModelResult result;
  TP_ASSIGN_OR_RETURN(const hf::ModelConfig config, train::ConfigOf(options.model));
  result.sizes = config.sizes;
  io::WriteOnInterrupt guard(result, hooks.interrupted);
  const auto keep = [&](ModelLane lane, const std::function<void(ModelResult&)>& set) {
    const auto lock = guard.Hold();
    set(result);
    if (hooks.lane_done && backend.IsRoot()) hooks.lane_done(result, lane);
  };
  if (options.op_by_op || !options.lanes.empty()) {
    TP_RETURN_IF_ERROR(RunByOps(backend, options, hooks.progress, keep));
  }
  if (options.invariant) {
    std::optional<io::ProgressStage> stage(std::in_place, hooks.progress, "invariant lane");
    TP_ASSIGN_OR_RETURN(InvariantResult invariant,
                        RunModelInvariant(backend, options.model, options.engine));
    stage.reset();
    keep(ModelLane::kInvariant, [&](ModelResult& to) { to.invariant = std::move(invariant); });
  }
  return result;
}

}  // namespace tp::verifier
