// Every classic mistake is caught, in every element type, and the report names the right quantity
// and the cause.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/verify/simulated_step.h"
#include "tp/verify/compare.h"

namespace tp::verify {
namespace {

struct Case {
  const char* name;
  Defect defect;
  Mode mode;
  Quantity first;
  const char* cause;  // part of the likeliest one
};

const Case kCases[] = {
    {"BiasOnEveryRank", Defect::kBiasOnEveryRank, Mode::kColumn, Quantity::kY, "bias is added"},
    {"BiasMissing", Defect::kBiasMissing, Mode::kRow, Quantity::kY, "bias is missing"},
    {"YReduceMissing", Defect::kYReduceMissing, Mode::kColumn, Quantity::kY,
     "the share of tp rank 0 alone"},
    {"YShareDropped", Defect::kYShareDropped, Mode::kColumn, Quantity::kY,
     "without the share of tp rank 2"},
    {"YShareTwice", Defect::kYShareTwice, Mode::kColumn, Quantity::kY,
     "share of tp rank 2 is counted twice"},
    {"YAverage", Defect::kYAverage, Mode::kColumn, Quantity::kY, "averaged over tp"},
    {"YMaximum", Defect::kYMaximum, Mode::kColumn, Quantity::kY, "maximum where a sum was meant"},
    {"YRankMajor", Defect::kYRankMajor, Mode::kRow, Quantity::kY, "rank-major"},
    {"YTransposed", Defect::kYTransposed, Mode::kRow, Quantity::kY, "transposed"},
    {"YShardsSwapped", Defect::kYShardsSwapped, Mode::kRow, Quantity::kY,
     "tp ranks 0 and 1 are swapped"},
    {"YShardMissing", Defect::kYShardMissing, Mode::kRow, Quantity::kY, "all zeros"},
    {"DxReduceMissing", Defect::kDxReduceMissing, Mode::kRow, Quantity::kDx,
     "the share of tp rank 0 alone"},
    {"DxScaledByTp", Defect::kDxScaledByTp, Mode::kColumn, Quantity::kDx, "scaled by tp (3)"},
    {"DxShardsSwapped", Defect::kDxShardsSwapped, Mode::kColumn, Quantity::kDx,
     "tp ranks 0 and 1 are swapped"},
    {"DwReduceMissing", Defect::kDwReduceMissing, Mode::kRow, Quantity::kDw,
     "the share of dp rank 0 alone"},
    {"DwAveragedOverDp", Defect::kDwAveragedOverDp, Mode::kRow, Quantity::kDw, "1/dp"},
    {"DwAveragedOverTp", Defect::kDwAveragedOverTp, Mode::kColumn, Quantity::kDw, "1/tp"},
    {"DwTransposed", Defect::kDwTransposed, Mode::kRow, Quantity::kDw, "transposed"},
    {"DbScaledByTp", Defect::kDbScaledByTp, Mode::kRow, Quantity::kDb, "scaled by tp (3)"},
    {"LossAveragedTwice", Defect::kLossAveragedTwice, Mode::kRow, Quantity::kLoss,
     "1 / the number of tokens"},
    {"NanInY", Defect::kNanInY, Mode::kRow, Quantity::kY, "1 NaN"},
};

constexpr int kTp = 3;
constexpr int kDp = 2;

class Defects : public testing::TestWithParam<DType> {
 protected:
  LinearProblem Problem(int steps) const {
    return RandomProblem({.tokens = 13,
                          .in_features = 50,
                          .out_features = 23,
                          .dtype = GetParam(),
                          .steps = steps,
                          .learning_rate = 0.25,
                          .x_size = 2,
                          .target_size = 2,
                          .seed = 5});
  }

  Report Run(const LinearProblem& problem, Mode mode, Defect defect) const {
    const NumericModel model = MakeModel(GetParam(), mode, kTp, kDp);
    const Observed observed = Simulate(problem, model, {.seed = 3, .defect = defect});
    return VerifyLinear(problem, observed, model, {.sample = {.full = true}}).value();
  }
};

TEST_P(Defects, AreCaughtAndNamed) {
  for (const Case& planted : kCases) {
    SCOPED_TRACE(planted.name);
    const LinearProblem problem = Problem(1);
    EXPECT_TRUE(Run(problem, planted.mode, Defect::kNone).ok());
    const Report report = Run(problem, planted.mode, planted.defect);
    SCOPED_TRACE(ToString(report));
    EXPECT_FALSE(report.ok());
    EXPECT_EQ(report.first_divergence, planted.first);
    const std::vector<std::string>& causes = report.Of(planted.first).causes;
    if (*planted.cause == '\0') continue;
    ASSERT_FALSE(causes.empty());
    EXPECT_THAT(causes[0], testing::HasSubstr(planted.cause));
  }
}

TEST_P(Defects, OfLaterStepsAreCaught) {
  const Case cases[] = {
      {"UpdateMissing", Defect::kUpdateMissing, Mode::kRow, Quantity::kLoss, "never changes"},
      {"UpdateOnce", Defect::kUpdateOnce, Mode::kRow, Quantity::kW, "one step behind"},
      {"UpdateSign", Defect::kUpdateSign, Mode::kColumn, Quantity::kLoss, ""},
      {"StaleWeights", Defect::kStaleWeights, Mode::kColumn, Quantity::kLoss, ""},
  };
  for (const Case& planted : cases) {
    SCOPED_TRACE(planted.name);
    const LinearProblem problem = Problem(3);
    EXPECT_TRUE(Run(problem, planted.mode, Defect::kNone).ok());
    const Report report = Run(problem, planted.mode, planted.defect);
    SCOPED_TRACE(ToString(report));
    EXPECT_FALSE(report.ok());
    EXPECT_EQ(report.first_divergence, planted.first);
    if (*planted.cause == '\0') continue;
    ASSERT_FALSE(report.Of(planted.first).causes.empty());
    EXPECT_THAT(report.Of(planted.first).causes[0], testing::HasSubstr(planted.cause));
  }
}

TEST_P(Defects, OfTheUpdateAreNamed) {
  const LinearProblem problem = Problem(1);
  const Report missing = Run(problem, Mode::kRow, Defect::kUpdateMissing);
  EXPECT_EQ(missing.first_divergence, Quantity::kW);
  EXPECT_THAT(missing.Of(Quantity::kW).causes[0], testing::HasSubstr("no gradient reaches W"));
  const Report sign = Run(problem, Mode::kRow, Defect::kUpdateSign);
  EXPECT_THAT(sign.Of(Quantity::kW).causes[0], testing::HasSubstr("wrong sign"));
}

TEST_P(Defects, ReductionInALowerPrecisionIsCaught) {
  if (GetParam() == DType::kBFloat16) return;  // it is no lower there
  const Report report = Run(Problem(1), Mode::kColumn, Defect::kReduceInBf16);
  EXPECT_FALSE(report.ok());
  EXPECT_EQ(report.first_divergence, Quantity::kY);
}

TEST_P(Defects, NameTheRankAndWhatFollows) {
  const Report report = Run(Problem(1), Mode::kRow, Defect::kYShardMissing);
  const QuantityReport& y = report.Of(Quantity::kY);
  for (int owner : y.owners) EXPECT_EQ(owner % kTp, kTp - 1);
  EXPECT_EQ(y.owners.size(), 1u);
  EXPECT_THAT(y.causes.back(), testing::HasSubstr("belong to tp rank 2"));
  EXPECT_EQ(report.Of(Quantity::kDw).follows_from, Quantity::kY);
  EXPECT_EQ(report.Of(Quantity::kW).follows_from, Quantity::kDw);
  EXPECT_TRUE(report.Of(Quantity::kDw).causes.empty());
}

INSTANTIATE_TEST_SUITE_P(AllTypes, Defects, testing::ValuesIn(kAllDTypes),
                         [](const auto& info) { return std::string(Name(info.param)); });

}  // namespace
}  // namespace tp::verify
