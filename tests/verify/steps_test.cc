// Steps held one by one: what the bounds of a whole run have forgotten, those of its steps know.

#include "tp/verify/steps.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/verify/simulated_step.h"

namespace tp::verify {
namespace {

using testing::HasSubstr;

class StepsTest : public testing::Test {
 protected:
  StepsTest() {
    LinearProblem one = problem_;
    one.steps = 1;
    for (int step = 0; step < problem_.steps; ++step) {
      ObservedStep& observed = steps_.emplace_back();
      observed.step = step;
      observed.w = one.w;
      observed.b = one.b;
      observed.result = Simulate(one, model_, {.seed = static_cast<uint64_t>(step)});
      one.w = observed.result.w;
      one.b = observed.result.b;
    }
  }

  Report Verify() const { return VerifySteps(problem_, steps_, model_, {.full = true}).value(); }

  LinearProblem problem_ = RandomProblem({.tokens = 6,
                                          .in_features = 7,
                                          .out_features = 5,
                                          .dtype = DType::kBFloat16,
                                          .steps = 300,
                                          .seed = 4});
  NumericModel model_ = MakeModel(DType::kBFloat16, Mode::kColumn, 2, 1);
  std::vector<ObservedStep> steps_;
};

TEST_F(StepsTest, StaySharpWhereTheRunIsUndecided) {
  Observed run = steps_[0].result;
  run.losses.clear();
  run.w = steps_.back().result.w;
  run.b = steps_.back().result.b;
  EXPECT_EQ(VerifyLinear(problem_, run, model_, {}).value().outcome(), Outcome::kUndecided);
  const Report report = Verify();
  EXPECT_TRUE(report.ok()) << ToString(report);
  EXPECT_THAT(report.coverage, HasSubstr("300 of 300 steps (0, 1, "));
  EXPECT_EQ(report.Of(Quantity::kW).checked, 300 * 35);
  EXPECT_EQ(report.Of(Quantity::kW).total, 300 * 35);
}

TEST_F(StepsTest, AMistakeInOneStepIsFoundThere) {
  for (Quantity quantity : kAllQuantities) {
    SCOPED_TRACE(Name(quantity));
    const std::vector<ObservedStep> right = steps_;
    Observed& result = steps_[123].result;
    if (quantity == Quantity::kLoss) {
      result.losses[0] *= 1.2;
    } else {
      HostTensor& tensor = const_cast<HostTensor&>(result.Of(quantity));
      tensor.Set(4, 1.2 * tensor.At(4) + 0.05);
    }
    const Report report = Verify();
    EXPECT_EQ(report.outcome(), Outcome::kFail);
    EXPECT_EQ(report.first_divergence, quantity);
    EXPECT_EQ(report.Of(quantity).failing, 1);
    EXPECT_THAT(report.Of(quantity).notes, testing::Contains("of step 123"));
    EXPECT_THAT(ToString(report), HasSubstr("of step 123"));
    steps_ = right;
  }
}

TEST_F(StepsTest, AStepFromNoNumbersIsUndecided) {
  steps_[9].w.Set(3, std::nan(""));
  const Report report = Verify();
  EXPECT_EQ(report.outcome(), Outcome::kUndecided);
  EXPECT_EQ(report.Of(Quantity::kW).checked, 299 * 35);
  EXPECT_EQ(report.Of(Quantity::kW).undecided, 35);
  EXPECT_THAT(report.coverage, HasSubstr("299 of 300 steps"));
  EXPECT_THAT(report.coverage, HasSubstr("1 more start from weights that are no finite numbers"));
}

TEST_F(StepsTest, NoStepIsAnError) {
  EXPECT_FALSE(VerifySteps(problem_, {}, model_, {}).ok());
  steps_[2].result.dx = HostTensor({1, 1}, DType::kBFloat16);
  EXPECT_THAT(VerifySteps(problem_, steps_, model_, {}).status().message(), HasSubstr("step 2"));
}

}  // namespace
}  // namespace tp::verify
