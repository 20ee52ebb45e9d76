// No false alarm: whatever the order of its sums, a correct step stays within the bounds.

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iostream>

#include "tests/verify/simulated_step.h"
#include "tp/verify/compare.h"

namespace tp::verify {
namespace {

struct Configuration {
  RandomSpec spec;
  NumericModel model;
  Simulation simulation;
};

// Sizes that divide and that don't, empty shards, inputs so small that fp16 underflows.
Configuration DrawConfiguration() {
  Configuration drawn;
  const auto size = [] {
    return *rc::gen::weightedOneOf<int64_t>(
        {{3, rc::gen::inRange<int64_t>(1, 20)}, {1, rc::gen::inRange<int64_t>(20, 70)}});
  };
  drawn.spec.tokens = size();
  drawn.spec.in_features = size();
  drawn.spec.out_features = size();
  drawn.spec.dtype =
      *rc::gen::elementOf(std::vector<DType>(std::begin(kAllDTypes), std::end(kAllDTypes)));
  drawn.spec.steps = *rc::gen::inRange(1, 4);
  drawn.spec.learning_rate = std::ldexp(1.0, *rc::gen::inRange(-8, 2));
  drawn.spec.x_size = std::ldexp(1.0, *rc::gen::inRange(-14, 3));
  drawn.spec.target_size = *rc::gen::element(0.0, 0x1p-12, 1.0);
  drawn.spec.seed = *rc::gen::arbitrary<uint64_t>();
  const Mode mode = *rc::gen::element(Mode::kRow, Mode::kColumn);
  const int tp = *rc::gen::element(1, 2, 3, 4, 5, 8);
  const int dp = *rc::gen::element(1, 2, 3);
  drawn.model = MakeModel(drawn.spec.dtype, mode, tp, dp);
  drawn.simulation.balanced = *rc::gen::arbitrary<bool>();
  if (drawn.simulation.balanced) {
    drawn.model.tp_depth = BalancedDepth(tp);
    drawn.model.dp_depth = BalancedDepth(dp);
  }
  drawn.model.probabilistic = *rc::gen::arbitrary<bool>();
  drawn.simulation.bias_in_accumulator = *rc::gen::arbitrary<bool>();
  drawn.simulation.seed = *rc::gen::arbitrary<uint64_t>();
  return drawn;
}

RC_GTEST_PROP(Soundness, CorrectStepsStayWithinTheBounds, ()) {
  const Configuration drawn = DrawConfiguration();
  const LinearProblem problem = RandomProblem(drawn.spec);
  const Observed observed = Simulate(problem, drawn.model, drawn.simulation);
  const StatusOr<Report> report =
      VerifyLinear(problem, observed, drawn.model, {.sample = {.full = true}});
  RC_ASSERT(report.ok());
  if (!report->ok) RC_LOG(ToString(*report));
  RC_ASSERT(report->ok);
}

RC_GTEST_PROP(Soundness, RowAgreesWithColumn, ()) {
  Configuration drawn = DrawConfiguration();
  const LinearProblem problem = RandomProblem(drawn.spec);
  drawn.model.mode = Mode::kRow;
  NumericModel other = drawn.model;
  other.mode = Mode::kColumn;
  const Observed row = Simulate(problem, drawn.model, drawn.simulation);
  const Observed column = Simulate(problem, other, drawn.simulation);
  const StatusOr<Report> report =
      CompareRuns(problem, {"row", &row, drawn.model}, {"column", &column, other}, {.full = true});
  RC_ASSERT(report.ok());
  if (!report->ok) RC_LOG(ToString(*report));
  RC_ASSERT(report->ok);
}

// Each of 64 gradients is 0.4 of the smallest subnormal and becomes 0, so dX loses 26 of them.
TEST(SoundnessTest, GradientsMayUnderflow) {
  LinearProblem problem;
  problem.x = HostTensor({1, 1}, DType::kFloat16);
  problem.x.Set(0, 13 * 0x1p-24);
  problem.w = HostTensor({64, 1}, DType::kFloat16);
  for (int64_t n = 0; n < 64; ++n) problem.w.Set(n, 1);
  problem.b = HostTensor({64}, DType::kFloat16);
  problem.targets = HostTensor({1, 64}, DType::kFloat16);
  const NumericModel model = MakeModel(DType::kFloat16, Mode::kRow, 1, 1);
  const Observed observed = Simulate(problem, model, {});
  ASSERT_EQ(observed.dx.At(0), 0);
  const Report report = VerifyLinear(problem, observed, model, {}).value();
  EXPECT_TRUE(report.ok) << ToString(report);
  EXPECT_EQ(report.Of(Quantity::kDx).expected, 26 * 0x1p-24);
}

// Sums so long that only the probabilistic bound says anything, in a type whose own error shows.
TEST(SoundnessTest, LongSums) {
  for (Mode mode : {Mode::kRow, Mode::kColumn}) {
    const LinearProblem problem = RandomProblem(
        {.tokens = 3, .in_features = 30000, .out_features = 5, .learning_rate = 1, .seed = 3});
    const NumericModel model = MakeModel(DType::kFloat32, mode, 3, 2);
    for (uint64_t seed = 0; seed < 8; ++seed) {
      const Observed observed = Simulate(problem, model, {.seed = seed});
      const Report report = VerifyLinear(problem, observed, model, {}).value();
      EXPECT_TRUE(report.ok) << ToString(report);
    }
  }
}

}  // namespace
}  // namespace tp::verify
