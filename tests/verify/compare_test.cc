// What a report says: coverage, missing tensors, NaN, overflow, loss of a sample, two runs.

#include "tp/verify/compare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/verify/simulated_step.h"

namespace tp::verify {
namespace {

using testing::HasSubstr;

class CompareTest : public testing::Test {
 protected:
  LinearProblem problem_ =
      RandomProblem({.tokens = 12, .in_features = 33, .out_features = 40, .steps = 2, .seed = 21});
  NumericModel model_ = MakeModel(DType::kFloat32, Mode::kRow, 2, 2);
  Observed observed_ = Simulate(problem_, model_, {});

  Report Verify(const SampleOptions& sample = {.full = true}) const {
    return VerifyLinear(problem_, observed_, model_, {.sample = sample}).value();
  }
};

TEST_F(CompareTest, SaysWhatAgrees) {
  const Report report = Verify();
  EXPECT_TRUE(report.ok());
  EXPECT_FALSE(report.first_divergence.has_value());
  EXPECT_EQ(report.coverage, "all of it");
  const std::string text = ToString(report);
  EXPECT_THAT(text, HasSubstr("verdict: agrees"));
  EXPECT_THAT(text, HasSubstr("all 480"));
  EXPECT_THAT(text, HasSubstr("row mode, fp32, tp 2"));
}

TEST_F(CompareTest, ChecksWhatIsGiven) {
  Observed some;
  some.dw = observed_.dw;
  const Report report = VerifyLinear(problem_, some, model_, {}).value();
  EXPECT_TRUE(report.ok());
  EXPECT_FALSE(report.Of(Quantity::kY).given);
  EXPECT_EQ(report.Of(Quantity::kY).checked, 0);
  EXPECT_EQ(report.Of(Quantity::kDw).checked, 40 * 33);
  EXPECT_THAT(ToString(report), HasSubstr("not given"));
}

TEST_F(CompareTest, NothingGivenIsNoSuccess) {
  EXPECT_EQ(VerifyLinear(problem_, {}, model_, {}).status().code(), StatusCode::kInvalidArgument);
}

TEST_F(CompareTest, WrongShapesAreErrors) {
  Observed wrong = observed_;
  wrong.dx = HostTensor({33, 12}, DType::kFloat32);
  EXPECT_THAT(VerifyLinear(problem_, wrong, model_, {}).status().message(),
              HasSubstr("the observed dX has shape [33, 12], the problem's [12, 33]"));
  wrong = observed_;
  wrong.losses.pop_back();
  EXPECT_FALSE(VerifyLinear(problem_, wrong, model_, {}).ok());
  NumericModel other = model_;
  other.dtype = DType::kBFloat16;
  EXPECT_THAT(VerifyLinear(problem_, observed_, other, {}).status().message(),
              HasSubstr("round it first"));
  other = model_;
  other.tp = 0;
  EXPECT_FALSE(VerifyLinear(problem_, observed_, other, {}).ok());
}

TEST_F(CompareTest, NanAndInfinityNeverPass) {
  for (double value : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    for (Quantity quantity : kAllQuantities) {
      Observed broken = observed_;
      if (quantity == Quantity::kLoss) {
        broken.losses[1] = value;
      } else {
        const_cast<HostTensor&>(broken.Of(quantity)).Set(3, value);
      }
      const Report report =
          VerifyLinear(problem_, broken, model_, {.sample = {.full = true}}).value();
      EXPECT_FALSE(report.ok());
      EXPECT_EQ(report.first_divergence, quantity);
      EXPECT_EQ(report.Of(quantity).failing, 1);
      EXPECT_TRUE(std::isinf(report.Of(quantity).ratio));
      EXPECT_THAT(report.Of(quantity).causes[0], HasSubstr("where the reference is finite"));
    }
  }
}

TEST_F(CompareTest, OverflowIsAFinding) {
  LinearProblem large = RandomProblem({.tokens = 3,
                                       .in_features = 64,
                                       .out_features = 4,
                                       .dtype = DType::kFloat16,
                                       .x_size = 60000});
  for (int64_t i = 0; i < large.w.size(); ++i) large.w.Set(i, large.x.At(i % 64) < 0 ? -1 : 1);
  const NumericModel model = MakeModel(DType::kFloat16, Mode::kColumn, 2, 1);
  const Observed overflown = Simulate(large, model, {});
  const Report report = VerifyLinear(large, overflown, model, {}).value();
  EXPECT_FALSE(report.ok());
  EXPECT_EQ(report.first_divergence, Quantity::kY);
  EXPECT_THAT(report.Of(Quantity::kY).causes[0], HasSubstr("fp16 overflows"));
}

TEST_F(CompareTest, DivergingStepsProveNothing) {
  LinearProblem wild = problem_;
  wild.learning_rate = 1e30;
  wild.steps = 40;
  const Observed observed = Simulate(wild, model_, {});
  EXPECT_FALSE(VerifyLinear(wild, observed, model_, {}).value().ok());
}

// Of numbers that rounding may have moved by more than their own size, nobody can say whether they
// are right; that what stands there is far beyond even that, one can.
TEST_F(CompareTest, ABoundThatPassesWhatItJudgesDecidesNothing) {
  const LinearProblem problem = RandomProblem({.tokens = 6,
                                               .in_features = 7,
                                               .out_features = 5,
                                               .dtype = DType::kBFloat16,
                                               .steps = 500,
                                               .learning_rate = 0.01});
  const NumericModel model = MakeModel(DType::kBFloat16, Mode::kRow, 2, 1);
  Observed observed = Simulate(problem, model, {});
  const auto verify = [&] {
    return VerifyLinear(problem, observed, model, {.sample = {.full = true}}).value();
  };
  const Report right = verify();
  EXPECT_EQ(right.outcome(), Outcome::kUndecided);
  EXPECT_FALSE(right.ok());
  EXPECT_FALSE(right.first_divergence.has_value());
  EXPECT_EQ(right.Of(Quantity::kY).outcome(), Outcome::kOk);
  const QuantityReport& w = right.Of(Quantity::kW);
  EXPECT_EQ(w.outcome(), Outcome::kUndecided);
  EXPECT_EQ(w.undecided, 35);
  EXPECT_EQ(w.failing, 0);
  EXPECT_GT(w.bound, w.size);
  EXPECT_THAT(ToString(right), HasSubstr("undecided: 35 elements"));
  EXPECT_THAT(ToString(right), HasSubstr("verdict: undecided"));

  for (int64_t i = 0; i < observed.w.size(); ++i) observed.w.Set(i, -observed.w.At(i));
  EXPECT_EQ(verify().Of(Quantity::kW).outcome(), Outcome::kUndecided);
  observed.w.Set(3, 1e6);
  EXPECT_EQ(verify().Of(Quantity::kW).failing, 1);
  EXPECT_EQ(verify().outcome(), Outcome::kFail);
}

// The reference itself leaves the range of fp64: what is finite can't be called wrong.
TEST_F(CompareTest, ABoundThatIsNotFiniteDecidesNothing) {
  LinearProblem wild = problem_;
  wild.learning_rate = 1e30;
  wild.steps = 40;
  Observed finite;
  finite.w = problem_.w;
  const Report report = VerifyLinear(wild, finite, model_, {.sample = {.full = true}}).value();
  EXPECT_EQ(report.Of(Quantity::kW).outcome(), Outcome::kUndecided);
  EXPECT_EQ(report.Of(Quantity::kW).undecided, 40 * 33);
}

// A quantity that is zero all over is judged as the type's smallest normal number would be.
TEST_F(CompareTest, ZeroIsDecided) {
  LinearProblem zero = problem_;
  zero.w = HostTensor(problem_.w.shape(), DType::kFloat32);
  zero.b = HostTensor(problem_.b.shape(), DType::kFloat32);
  Observed observed = Simulate(zero, model_, {});
  EXPECT_TRUE(VerifyLinear(zero, observed, model_, {.sample = {.full = true}}).value().ok());
  observed.y.Set(3, 1e-30);
  EXPECT_EQ(VerifyLinear(zero, observed, model_, {}).value().first_divergence, Quantity::kY);
}

TEST_F(CompareTest, FactorsThatTheAccumulatorCannotHoldAreErrors) {
  LinearProblem wild = problem_;
  wild.learning_rate = 1e39;
  EXPECT_THAT(VerifyLinear(wild, observed_, model_, {}).status().message(),
              HasSubstr("learning rate is 1e+39"));
  wild = problem_;
  wild.loss_scale = 2e38;
  EXPECT_THAT(VerifyLinear(wild, observed_, model_, {}).status().message(),
              HasSubstr("loss scale is 4e+38"));
}

TEST_F(CompareTest, SampleSaysItsPartAndChecksTheLossAgainstY) {
  const SampleOptions few = {.max_multiply_adds = 1};
  Report report = Verify(few);
  EXPECT_TRUE(report.ok()) << ToString(report);
  EXPECT_THAT(report.coverage, HasSubstr("16 of 40 features and 12 of 12 tokens"));
  EXPECT_EQ(report.Of(Quantity::kDw).checked, 16 * 33);
  EXPECT_EQ(report.Of(Quantity::kLoss).checked, 1);
  EXPECT_THAT(report.Of(Quantity::kLoss).notes[0], HasSubstr("against the observed Y"));
  observed_.losses[0] *= 2;
  report = Verify(few);
  EXPECT_EQ(report.first_divergence, Quantity::kLoss);
  observed_.y = HostTensor();
  report = Verify(few);
  EXPECT_TRUE(report.ok());
  EXPECT_EQ(report.Of(Quantity::kLoss).checked, 0);
}

TEST_F(CompareTest, SampleFindsASwap) {
  observed_ = Simulate(problem_, model_, {.defect = Defect::kYShardsSwapped});
  const Report report = Verify({.max_multiply_adds = 1});
  EXPECT_EQ(report.first_divergence, Quantity::kY);
  EXPECT_THAT(report.Of(Quantity::kY).causes[0], HasSubstr("1 further on"));
}

TEST_F(CompareTest, OwnersFollowTheMesh) {
  // Row mode, tp 2, dp 2: features 20..39 belong to tp rank 1, tokens 6..11 to dp rank 1.
  const auto owners = [&](const NumericModel& model, Quantity quantity, int64_t index) {
    Observed broken = observed_;
    HostTensor& tensor = const_cast<HostTensor&>(broken.Of(quantity));
    tensor.Set(index, 100);
    return VerifyLinear(problem_, broken, model, {}).value().Of(quantity).owners;
  };
  using testing::ElementsAre;
  EXPECT_THAT(owners(model_, Quantity::kY, 7 * 40 + 25), ElementsAre(3));
  EXPECT_THAT(owners(model_, Quantity::kDx, 7 * 33 + 2), ElementsAre(2, 3));
  EXPECT_THAT(owners(model_, Quantity::kDw, 25 * 33), ElementsAre(1, 3));
  EXPECT_THAT(owners(model_, Quantity::kB, 3), ElementsAre(0, 2));
  NumericModel column = model_;
  column.mode = Mode::kColumn;  // in_features 17..32 belong to tp rank 1
  EXPECT_THAT(owners(column, Quantity::kY, 7 * 40 + 25), ElementsAre(2, 3));
  EXPECT_THAT(owners(column, Quantity::kDx, 2 * 33 + 20), ElementsAre(1));
  EXPECT_THAT(owners(column, Quantity::kW, 25 * 33 + 3), ElementsAre(0, 2));
  EXPECT_THAT(owners(column, Quantity::kDb, 3), ElementsAre(0, 1, 2, 3));
}

TEST_F(CompareTest, TwoRunsAgreeOrNot) {
  NumericModel column = model_;
  column.mode = Mode::kColumn;
  Observed other = Simulate(problem_, column, {.seed = 8});
  const auto compare = [&](const SampleOptions& options) {
    return CompareRuns(problem_, {"row", &observed_, model_}, {"column", &other, column},
                       {.sample = options})
        .value();
  };
  EXPECT_TRUE(compare({.full = true}).ok());
  EXPECT_EQ(compare({}).title, "row against column");
  // Their bits differ, which the bounds allow and the exact lane does not.
  EXPECT_FALSE(CompareRuns(problem_, {"row", &observed_, model_}, {"column", &other, column},
                           {.lane = Lane::kExact, .sample = {.full = true}})
                   .value()
                   .ok());
  other = Simulate(problem_, column, {.seed = 8, .defect = Defect::kDbScaledByTp});
  // The loss of the second step differs as well, because db did in the first.
  EXPECT_EQ(compare({.full = true}).first_divergence, Quantity::kDb);
  EXPECT_EQ(compare({.full = true}).Of(Quantity::kLoss).first_failing, 1);
  EXPECT_EQ(compare({.full = true}).Of(Quantity::kLoss).follows_from, Quantity::kDb);
  EXPECT_EQ(compare({.max_multiply_adds = 1}).first_divergence, Quantity::kDb);
}

}  // namespace
}  // namespace tp::verify
