// No lane speaks up about a correct run: 1,000 random configurations, through the real CPU backend,
// past every lane: placement, hazards, byte contract, replicas, bounded, step by step, exact, and
// row against column. One in twenty is a long run. "Undecided" is no alarm, and the test counts how
// often it is said; it never is in the exact lane.
//
// A sanitizer makes a run some 30 times slower, so builds with one try a tenth of them. Other
// numbers: --test_env=RC_PARAMS="seed=2 max_success=1000", or the parameters that a failure prints.

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "backends/cpu/backend.h"
#include "tests/core/sanitized.h"
#include "tests/verify/simulated_step.h"
#include "tests/verify/small_factors.h"
#include "tools/bench/watch.h"
#include "tools/measure/train.h"
#include "tp/model/linear_step.h"
#include "tp/observe/step_report.h"
#include "tp/verify/compare.h"
#include "tp/verify/exact.h"
#include "tp/verify/steps.h"

namespace tp {
namespace {

// Of each element type: four of them make 1,000.
constexpr const char* kParameters = kSanitized ? "seed=1 max_success=25" : "seed=1 max_success=250";

struct Configuration {
  verify::RandomSpec spec;
  int tp = 1;
  int dp = 1;
  bool optimize = true;
  bool full = true;
  cpu::CpuBackendOptions backend;
};

void showValue(const Configuration& drawn, std::ostream& out) {
  out << drawn.spec.tokens << " x " << drawn.spec.in_features << " -> " << drawn.spec.out_features
      << ", tp " << drawn.tp << ", dp " << drawn.dp << ", " << drawn.spec.steps << " steps, lr "
      << drawn.spec.learning_rate << ", scale " << drawn.spec.loss_scale.value_or(0) << ", x "
      << drawn.spec.x_size << ", targets " << drawn.spec.target_size << ", seed " << drawn.spec.seed
      << ", " << sim::Name(drawn.backend.all_reduce) << ", scheduler seed "
      << drawn.backend.scheduler_seed;
}

// From the whole of [begin, end), in the first configurations too.
template <typename T>
T Within(T begin, T end) {
  return *rc::gen::resize(rc::kNominalSize, rc::gen::inRange<T>(begin, end));
}

// Sizes that divide and that don't, empty shards, inputs so small that fp16 underflows, learning
// rates with which training diverges, and such that are below the normal range.
Configuration Draw(DType dtype) {
  Configuration drawn;
  drawn.spec.tokens = Within<int64_t>(1, 41);
  drawn.spec.in_features = Within<int64_t>(1, 41);
  drawn.spec.out_features = Within<int64_t>(1, 41);
  drawn.spec.dtype = dtype;
  const bool long_run = Within(0, 20) == 0;
  drawn.spec.steps = long_run ? Within(20, 60) : Within(1, 5);
  drawn.spec.learning_rate = std::ldexp(*rc::gen::element(1.0, 0.7), Within(-8, 7));
  drawn.spec.x_size = std::ldexp(1.0, Within(-14, 3));
  drawn.spec.target_size = *rc::gen::element(0.0, 0x1p-12, 1.0);
  verify::DrawFactors(10, &drawn.spec);
  drawn.spec.seed = *rc::gen::arbitrary<uint64_t>();
  drawn.tp = Within(1, 9);
  drawn.dp = Within(1, 4);
  drawn.optimize = *rc::gen::arbitrary<bool>();
  drawn.full = *rc::gen::arbitrary<bool>();
  drawn.backend.scheduler =
      *rc::gen::element(cpu::SchedulerKind::kFree, cpu::SchedulerKind::kSeeded);
  drawn.backend.scheduler_seed = *rc::gen::arbitrary<uint64_t>();
  drawn.backend.all_reduce = *rc::gen::elementOf(
      std::vector<sim::Algorithm>(std::begin(sim::kAllAlgorithms), std::end(sim::kAllAlgorithms)));
  return drawn;
}

verify::NumericModel ModelOf(const Configuration& drawn, LinearMode mode) {
  return verify::MakeModel(drawn.spec.dtype,
                           mode == LinearMode::kRow ? verify::Mode::kRow : verify::Mode::kColumn,
                           drawn.tp, drawn.dp);
}

struct Run {
  verify::Observed observed;
  std::vector<verify::ObservedStep> steps;
};

// Trains, which checks placements and hazards, and holds bytes and replicas against each other.
Run Observe(const Configuration& drawn, LinearMode mode, const verify::LinearProblem& problem) {
  LinearStepOptions options;
  options.mode = mode;
  options.tokens = problem.tokens();
  options.in_features = problem.in_features();
  options.out_features = problem.out_features();
  options.dtype = drawn.spec.dtype;
  options.learning_rate = problem.learning_rate;
  options.loss_scale = problem.loss_scale;
  options.optimize = drawn.optimize;
  const Mesh mesh = Mesh::Create(drawn.tp, drawn.dp).value();
  const Program program = MakeLinearStep(options, mesh).value();
  const std::map<std::string, ElementSource> sources = {
      {"x", [&](int64_t i) { return problem.x.At(i); }},
      {"targets", [&](int64_t i) { return problem.targets.At(i); }},
      {"w", [&](int64_t i) { return problem.w.At(i); }},
      {"b", [&](int64_t i) { return problem.b.At(i); }}};
  TrainOptions train;
  train.warmup = 0;
  train.steps = problem.steps;
  train.watched = {0};
  if (problem.steps > 1) train.watched.push_back(problem.steps - 1);
  StatusOr<TrainResult> trained =
      Train(*cpu::MakeCpuBackend(drawn.backend), mesh, program, sources, train);
  if (!trained.ok()) RC_FAIL(trained.status().ToString());
  RC_ASSERT(trained->replica_defects == std::vector<std::string>());
  RC_ASSERT(MakeStepReport(program, mesh, trained->ranks).value().bytes_ok);
  Run run;
  run.steps = bench::TakeWatched(*trained);
  run.observed = {.y = std::move(trained->first.at("y")),
                  .dx = std::move(trained->first.at("dx")),
                  .dw = std::move(trained->first.at("dw")),
                  .db = std::move(trained->first.at("db")),
                  .w = std::move(trained->last.at("w")),
                  .b = std::move(trained->last.at("b")),
                  .losses = std::move(trained->losses)};
  return run;
}

// Training that diverges leaves the range of its type, and a report may say so.
bool IsFinite(const verify::Observed& observed) {
  std::vector<double> values = observed.losses;
  for (verify::Quantity quantity : verify::kAllQuantities) {
    if (quantity == verify::Quantity::kLoss) continue;
    for (double value : observed.Of(quantity).ToDoubles()) values.push_back(value);
  }
  return std::all_of(values.begin(), values.end(),
                     [](double value) { return std::isfinite(value); });
}

void ExpectNoFailure(const StatusOr<verify::Report>& report, const char* what) {
  if (!report.ok()) RC_FAIL(report.status().ToString());
  RC_CLASSIFY(report->outcome() == verify::Outcome::kUndecided, "undecided", what);
  if (report->outcome() == verify::Outcome::kFail) RC_FAIL(ToString(*report));
}

void ExpectAgreement(const StatusOr<verify::Report>& report) {
  if (!report.ok()) RC_FAIL(report.status().ToString());
  if (!report->ok()) RC_FAIL(ToString(*report));
}

// All of it, or as little as a sample can be.
verify::SampleOptions SampleOf(const Configuration& drawn) {
  return {.full = drawn.full, .max_multiply_adds = 1, .seed = drawn.spec.seed};
}

void ExpectSilence(DType dtype) {
  const Configuration drawn = Draw(dtype);
  RC_LOG() << Name(dtype) << ": " << rc::toString(drawn) << "\n";
  const verify::SampleOptions sample = SampleOf(drawn);
  const verify::LinearProblem problem = verify::RandomProblem(drawn.spec);
  const Run row = Observe(drawn, LinearMode::kRow, problem);
  const Run column = Observe(drawn, LinearMode::kColumn, problem);
  const verify::NumericModel as_row = ModelOf(drawn, LinearMode::kRow);
  const verify::NumericModel as_column = ModelOf(drawn, LinearMode::kColumn);
  RC_CLASSIFY(problem.loss_scale.has_value(), "a factor below the normal range");
  const bool finite = IsFinite(row.observed) && IsFinite(column.observed);
  RC_CLASSIFY(!finite, "overflow");
  if (finite) {
    ExpectNoFailure(verify::VerifyLinear(problem, row.observed, as_row, {.sample = sample}), "row");
    ExpectNoFailure(verify::VerifyLinear(problem, column.observed, as_column, {.sample = sample}),
                    "column");
    ExpectNoFailure(verify::VerifySteps(problem, row.steps, as_row, sample), "row, by steps");
    ExpectNoFailure(verify::VerifySteps(problem, column.steps, as_column, sample),
                    "column, by steps");
    ExpectNoFailure(
        verify::CompareRuns(problem, {"row", &row.observed, as_row},
                            {"column", &column.observed, as_column}, {.sample = sample}),
        "row against column");
  }

  // Narrow types hold few exact steps.
  const int most_steps = std::min(drawn.spec.steps, 4);
  verify::ExactSpec spec{.tokens = drawn.spec.tokens,
                         .in_features = drawn.spec.in_features,
                         .out_features = drawn.spec.out_features,
                         .dtype = dtype,
                         .steps = most_steps,
                         .seed = drawn.spec.seed,
                         .tp = drawn.tp,
                         .dp = drawn.dp};
  StatusOr<verify::LinearProblem> exact = verify::MakeExactProblem(spec, sample);
  while (!exact.ok() && spec.steps > 1) {
    --spec.steps;
    exact = verify::MakeExactProblem(spec, sample);
  }
  RC_CLASSIFY(exact.ok(), "exact", spec.steps);
  if (!exact.ok()) return;
  const verify::VerifyOptions lane{.lane = verify::Lane::kExact, .sample = sample};
  ExpectAgreement(verify::VerifyLinear(*exact, Observe(drawn, LinearMode::kRow, *exact).observed,
                                       as_row, lane));
  ExpectAgreement(verify::VerifyLinear(*exact, Observe(drawn, LinearMode::kColumn, *exact).observed,
                                       as_column, lane));
}

RC_GTEST_PROP(FalseAlarm, Fp64, ()) { ExpectSilence(DType::kFloat64); }
RC_GTEST_PROP(FalseAlarm, Fp32, ()) { ExpectSilence(DType::kFloat32); }
RC_GTEST_PROP(FalseAlarm, Bf16, ()) { ExpectSilence(DType::kBFloat16); }
RC_GTEST_PROP(FalseAlarm, Fp16, ()) { ExpectSilence(DType::kFloat16); }

}  // namespace
}  // namespace tp

int main(int argc, char** argv) {
  setenv("RC_PARAMS", tp::kParameters, /*overwrite=*/0);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
