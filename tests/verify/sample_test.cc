#include "tp/verify/sample.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/verify/simulated_step.h"
#include "tp/core/shard_geometry.h"

namespace tp::verify {
namespace {

TEST(Sample, TakesAllThatIsAffordable) {
  const LinearProblem small = RandomProblem({.tokens = 20, .in_features = 30, .out_features = 40});
  const Sample sample = ChooseSample(small, 2, 2, {});
  EXPECT_TRUE(sample.full);
  EXPECT_EQ(sample.features.size(), 40u);
  EXPECT_EQ(sample.rows.size(), 20u);
  EXPECT_TRUE(ChooseSample(small, 2, 2, {.full = true, .max_multiply_adds = 1}).full);
}

TEST(Sample, HasEveryBorderWhateverItCosts) {
  const LinearProblem large =
      RandomProblem({.tokens = 301, .in_features = 20, .out_features = 403});
  const int tp = 7;
  const int dp = 3;
  const Sample sample = ChooseSample(large, tp, dp, {.max_multiply_adds = 1});
  EXPECT_FALSE(sample.full);
  const ShardGeometry features(403, tp);
  for (int part = 0; part < tp; ++part) {
    EXPECT_THAT(sample.features, testing::Contains(features.Offset(part)));
    EXPECT_THAT(sample.features, testing::Contains(features.Offset(part + 1) - 1));
  }
  const ShardGeometry rows(301, dp);
  for (int part = 0; part < dp; ++part) {
    EXPECT_THAT(sample.rows, testing::Contains(rows.Offset(part)));
    EXPECT_THAT(sample.rows, testing::Contains(rows.Offset(part + 1) - 1));
  }
  EXPECT_LE(sample.features.size(), 32u);  // 14 borders, filled up to a whole panel
}

TEST(Sample, IsAscendingDistinctAndRepeatable) {
  const LinearProblem large =
      RandomProblem({.tokens = 300, .in_features = 20, .out_features = 400});
  const SampleOptions options = {.max_multiply_adds = 3e6, .seed = 9};
  const Sample a = ChooseSample(large, 2, 1, options);
  const Sample b = ChooseSample(large, 2, 1, options);
  EXPECT_EQ(a.features, b.features);
  EXPECT_EQ(a.rows, b.rows);
  EXPECT_TRUE(std::is_sorted(a.features.begin(), a.features.end(), std::less_equal<>()));
  EXPECT_LT(a.features.back(), 400);
  const Sample other = ChooseSample(large, 2, 1, {.max_multiply_adds = 3e6, .seed = 10});
  EXPECT_NE(a.features, other.features);
}

TEST(Sample, MoreRanksThanFeatures) {
  const LinearProblem problem = RandomProblem({.tokens = 2, .in_features = 20, .out_features = 3});
  EXPECT_THAT(ChooseSample(problem, 8, 3, {.max_multiply_adds = 1}).features,
              testing::ElementsAre(0, 1, 2));
}

}  // namespace
}  // namespace tp::verify
