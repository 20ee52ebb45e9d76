// The exact lane: what it makes is exact, what it lets through has no rounding, and one wrong unit
// is an error.

#include "tp/verify/exact.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/verify/simulated_step.h"
#include "tp/verify/compare.h"

namespace tp::verify {
namespace {

constexpr SampleOptions kAll = {.full = true};

Report Verify(const LinearProblem& problem, const Observed& observed, const NumericModel& model) {
  return VerifyLinear(problem, observed, model, {.lane = Lane::kExact, .sample = kAll}).value();
}

// What each type can hold at the sizes below.
int StepsOf(DType dtype) {
  switch (dtype) {
    case DType::kFloat64:
      return 4;
    case DType::kFloat32:
      return 2;
    default:
      return 1;
  }
}

RC_GTEST_PROP(Exact, AnyOrderGivesTheSameBits, ()) {
  const DType dtype =
      *rc::gen::elementOf(std::vector<DType>(std::begin(kAllDTypes), std::end(kAllDTypes)));
  const auto size = [] { return *rc::gen::inRange<int64_t>(1, 40); };
  const StatusOr<LinearProblem> problem =
      MakeExactProblem({.tokens = size(),
                        .in_features = size(),
                        .out_features = size(),
                        .dtype = dtype,
                        .steps = StepsOf(dtype),
                        .seed = *rc::gen::arbitrary<uint64_t>()},
                       kAll);
  if (!problem.ok()) RC_LOG(problem.status().ToString());
  RC_ASSERT(problem.ok());
  const NumericModel model =
      MakeModel(dtype, *rc::gen::element(Mode::kRow, Mode::kColumn),
                *rc::gen::element(1, 2, 3, 4, 5, 8), *rc::gen::element(1, 2, 3));
  const Observed observed = Simulate(*problem, model,
                                     {.seed = *rc::gen::arbitrary<uint64_t>(),
                                      .bias_in_accumulator = *rc::gen::arbitrary<bool>()});
  const Report report = Verify(*problem, observed, model);
  if (!report.ok()) RC_LOG(ToString(report));
  RC_ASSERT(report.ok());
  for (const QuantityReport& quantity : report.quantities) {
    RC_ASSERT(quantity.checked == quantity.total);
    RC_ASSERT(quantity.error == 0);
  }
}

class ExactOf : public testing::TestWithParam<DType> {
 protected:
  LinearProblem Problem() const {
    return MakeExactProblem({.tokens = 13,
                             .in_features = 50,
                             .out_features = 23,
                             .dtype = GetParam(),
                             .steps = 1,
                             .seed = 4},
                            kAll)
        .value();
  }
};

TEST_P(ExactOf, InputsCanFail) {
  const LinearProblem problem = Problem();
  const LinearResult result = RunReference(problem).value();
  for (const std::vector<double>* values : {&result.y, &result.dx, &result.dw, &result.db}) {
    double magnitude = 0;
    for (double value : *values) magnitude += std::abs(value);
    EXPECT_GT(magnitude, 0);
  }
  for (int64_t n = 0; n < problem.b.size(); ++n) EXPECT_NE(problem.b.At(n), 0);
  EXPECT_GT(result.losses[0], 0);
}

TEST_P(ExactOf, OneUnitOffIsAnError) {
  const LinearProblem problem = Problem();
  const NumericModel model = MakeModel(GetParam(), Mode::kRow, 3, 2);
  for (Quantity quantity : kAllQuantities) {
    Observed observed = Simulate(problem, model, {});
    ASSERT_TRUE(Verify(problem, observed, model).ok());
    if (quantity == Quantity::kLoss) {
      observed.losses[0] += 1;
    } else {
      HostTensor& tensor = const_cast<HostTensor&>(observed.Of(quantity));
      tensor.Set(tensor.size() - 1, tensor.At(tensor.size() - 1) + 1);
    }
    const Report report = Verify(problem, observed, model);
    EXPECT_EQ(report.first_divergence, quantity) << ToString(report);
    EXPECT_EQ(report.Of(quantity).failing, 1);
    EXPECT_TRUE(std::isinf(report.Of(quantity).ratio));
  }
}

TEST_P(ExactOf, MistakesAreCaughtAndNamed) {
  const LinearProblem problem = Problem();
  const NumericModel column = MakeModel(GetParam(), Mode::kColumn, 3, 2);
  const Report bias =
      Verify(problem, Simulate(problem, column, {.defect = Defect::kBiasOnEveryRank}), column);
  EXPECT_EQ(bias.first_divergence, Quantity::kY);
  EXPECT_THAT(bias.Of(Quantity::kY).causes[0], testing::HasSubstr("bias is added"));
  const NumericModel row = MakeModel(GetParam(), Mode::kRow, 3, 2);
  const Report dw =
      Verify(problem, Simulate(problem, row, {.defect = Defect::kDwAveragedOverDp}), row);
  EXPECT_EQ(dw.first_divergence, Quantity::kDw);
  EXPECT_THAT(dw.Of(Quantity::kDw).causes[0], testing::HasSubstr("1/dp"));
}

TEST_P(ExactOf, ProblemsThatRoundAreRefused) {
  const LinearProblem random = RandomProblem(
      {.tokens = 4, .in_features = 9, .out_features = 5, .dtype = GetParam(), .seed = 1});
  EXPECT_EQ(CheckExact(random, ChooseSample(random, 1, 1, kAll)).code(),
            StatusCode::kFailedPrecondition);
  // A mean over 20 elements is not exact, and neither is one weight too fine for the sums it is in.
  LinearProblem mean = Problem();
  mean.loss_scale.reset();
  EXPECT_FALSE(CheckExact(mean, ChooseSample(mean, 1, 1, kAll)).ok());
  LinearProblem fine = Problem();
  fine.w.Set(7, UnitRoundoff(GetParam()));
  EXPECT_FALSE(CheckExact(fine, ChooseSample(fine, 1, 1, kAll)).ok());
}

INSTANTIATE_TEST_SUITE_P(AllTypes, ExactOf, testing::ValuesIn(kAllDTypes),
                         [](const auto& info) { return std::string(Name(info.param)); });

TEST(ExactTest, LargeProblemsAreSparseInNarrowTypes) {
  const SampleOptions sample = {.max_multiply_adds = 1e8};
  for (DType dtype : {DType::kBFloat16, DType::kFloat16, DType::kFloat32}) {
    const ExactSpec spec = {
        .tokens = 300, .in_features = 500, .out_features = 400, .dtype = dtype, .seed = 2};
    const StatusOr<LinearProblem> problem = MakeExactProblem(spec, sample);
    EXPECT_TRUE(problem.ok()) << problem.status().ToString();
  }
}

// bf16 holds 256 and not 257.
TEST(ExactTest, KnowsTheLastInteger) {
  LinearProblem problem;
  problem.x = HostTensor({1, 4}, DType::kBFloat16);
  problem.w = HostTensor({1, 4}, DType::kBFloat16);
  problem.b = HostTensor({1}, DType::kBFloat16);
  problem.targets = HostTensor({1, 1}, DType::kBFloat16);
  problem.targets.Set(0, 256);
  problem.loss_scale = 1;
  problem.learning_rate = 0.5;
  for (int64_t k = 0; k < 4; ++k) problem.x.Set(k, 64);
  for (int64_t k = 0; k < 4; ++k) problem.w.Set(k, 1);
  const Sample all = ChooseSample(problem, 1, 1, kAll);
  EXPECT_TRUE(CheckExact(problem, all).ok());
  problem.b.Set(0, 1);
  EXPECT_THAT(CheckExact(problem, all).message(), testing::HasSubstr("Y of step 0"));
  problem.b.Set(0, 0);
  problem.w.Set(0, 4);  // 64 * 4 + 192 - 192: the sum fits, its parts don't
  problem.w.Set(1, -1);
  problem.w.Set(2, -1);
  problem.w.Set(3, -1);
  EXPECT_FALSE(CheckExact(problem, all).ok());
}

TEST(ExactTest, TooManyStepsAreAnError) {
  const StatusOr<LinearProblem> problem = MakeExactProblem(
      {.tokens = 50, .in_features = 50, .out_features = 50, .dtype = DType::kBFloat16, .steps = 20},
      kAll);
  EXPECT_EQ(problem.status().code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(problem.status().message(), testing::HasSubstr("fewer steps"));
  EXPECT_FALSE(MakeExactProblem({}, kAll).ok());
}

}  // namespace
}  // namespace tp::verify
