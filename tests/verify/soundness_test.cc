// No false alarm: whatever the order of its sums, a correct step stays within the bounds.

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "tests/verify/simulated_step.h"
#include "tests/verify/small_factors.h"
#include "tp/verify/compare.h"

namespace tp::verify {
namespace {

struct Configuration {
  RandomSpec spec;
  NumericModel model;
  Simulation simulation;
};

// A correct run fails where it overflows, and nowhere else. The report says so, and CompareRuns
// tells nothing about it.
void ExpectNoFalseAlarm(const Report& report) {
  RC_CLASSIFY(report.outcome() == Outcome::kUndecided, "undecided");
  if (report.outcome() != Outcome::kFail) return;
  for (const QuantityReport& quantity : report.quantities) {
    if (quantity.failing == 0 || quantity.follows_from) continue;
    const bool overflows = !std::isfinite(quantity.observed) && !quantity.causes.empty() &&
                           quantity.causes[0].find("overflow") != std::string::npos;
    if (!overflows) RC_FAIL(ToString(report));
  }
  RC_CLASSIFY(true, "overflow");
}

// Sizes that divide and that don't, empty shards, inputs so small that fp16 underflows, rates and
// scales below the normal range of their accumulator.
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
  DrawFactors(5, &drawn.spec);
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
  ExpectNoFalseAlarm(*report);
}

// Many steps of a small layer, at rates from less than a normal number to far beyond what
// converges.
RC_GTEST_PROP(Soundness, LongRunsStayWithinTheBounds, ()) {
  Configuration drawn = DrawConfiguration();
  const auto size = [] { return *rc::gen::inRange<int64_t>(1, 6); };
  drawn.spec.tokens = size();
  drawn.spec.in_features = size();
  drawn.spec.out_features = size();
  drawn.spec.steps = *rc::gen::inRange(20, 100);
  drawn.spec.x_size = std::ldexp(1.0, *rc::gen::inRange(-3, 2));
  drawn.spec.learning_rate = std::ldexp(*rc::gen::element(1.0, 0.7), *rc::gen::inRange(-6, 7));
  drawn.spec.loss_scale.reset();
  DrawFactors(8, &drawn.spec);
  const LinearProblem problem = RandomProblem(drawn.spec);
  const Observed observed = Simulate(problem, drawn.model, drawn.simulation);
  const StatusOr<Report> report =
      VerifyLinear(problem, observed, drawn.model, {.sample = {.full = true}});
  RC_ASSERT(report.ok());
  ExpectNoFalseAlarm(*report);
}

RC_GTEST_PROP(Soundness, RowAgreesWithColumn, ()) {
  Configuration drawn = DrawConfiguration();
  const LinearProblem problem = RandomProblem(drawn.spec);
  drawn.model.mode = Mode::kRow;
  NumericModel other = drawn.model;
  other.mode = Mode::kColumn;
  const Observed row = Simulate(problem, drawn.model, drawn.simulation);
  const Observed column = Simulate(problem, other, drawn.simulation);
  const StatusOr<Report> report = CompareRuns(
      problem, {"row", &row, drawn.model}, {"column", &column, other}, {.sample = {.full = true}});
  RC_ASSERT(report.ok());
  const auto finite = [](const Observed& observed) {
    std::vector<double> values = observed.losses;
    for (Quantity quantity : kAllQuantities) {
      if (quantity == Quantity::kLoss) continue;
      for (double value : observed.Of(quantity).ToDoubles()) values.push_back(value);
    }
    return std::all_of(values.begin(), values.end(),
                       [](double value) { return std::isfinite(value); });
  };
  if (!finite(row) || !finite(column)) return;  // the reference tells of that
  if (report->outcome() == Outcome::kFail) RC_FAIL(ToString(*report));
}

// Where training is stable its errors grow by no more than what each step rounds; where it is not,
// they grow as the weights do.
TEST(SoundnessTest, LongRunsAreDecided) {
  const std::pair<double, int> runs[] = {{0.3, 2000}, {1, 2000}, {8, 30}};
  for (const auto& [rate, steps] : runs) {
    for (Mode mode : {Mode::kRow, Mode::kColumn}) {
      SCOPED_TRACE(rate);
      const LinearProblem problem = RandomProblem({.tokens = 6,
                                                   .in_features = 7,
                                                   .out_features = 5,
                                                   .steps = steps,
                                                   .learning_rate = rate,
                                                   .seed = 2});
      const NumericModel model = MakeModel(DType::kFloat32, mode, 2, 1);
      Observed observed = Simulate(problem, model, {});
      const auto verify = [&] {
        return VerifyLinear(problem, observed, model, {.sample = {.full = true}}).value();
      };
      const Report report = verify();
      EXPECT_TRUE(report.ok()) << ToString(report);
      const QuantityReport& w = report.Of(Quantity::kW);
      EXPECT_LT(w.bound, 0.01 * w.size);
      for (int64_t i = 0; i < w.total; ++i) observed.w.Set(i, observed.w.At(i) + 0.05 * w.size);
      EXPECT_EQ(verify().Of(Quantity::kW).failing, w.total);
    }
  }
}

// A rate below fp32's normal range has few bits, and so has what it multiplies.
TEST(SoundnessTest, ASubnormalRateLosesBits) {
  LinearProblem problem = RandomProblem({.tokens = 1, .in_features = 4, .out_features = 1});
  for (int64_t i = 0; i < 4; ++i) {
    problem.x.Set(i, 1e19);
    problem.w.Set(i, 0);
  }
  problem.b.Set(0, 0);
  problem.targets.Set(0, 1e18);
  problem.learning_rate = 3e-41;
  const NumericModel model = MakeModel(DType::kFloat32, Mode::kRow, 1, 1);
  const Report report = VerifyLinear(problem, Simulate(problem, model, {}), model, {}).value();
  EXPECT_TRUE(report.ok()) << ToString(report);
  EXPECT_GT(report.Of(Quantity::kW).ratio, 0.1);  // so the bound must know of it
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
  // No false alarm; and no proof, where rounding takes it all.
  EXPECT_EQ(report.outcome(), Outcome::kUndecided) << ToString(report);
  EXPECT_EQ(report.Of(Quantity::kDx).outcome(), Outcome::kUndecided);
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
      EXPECT_TRUE(report.ok()) << ToString(report);
    }
  }
}

}  // namespace
}  // namespace tp::verify
