// The rule by which the bench tells two modes apart is the observations tool's, number for number.

#include "tools/bench/ratio.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

namespace tp::bench {
namespace {

// intervals.json is what decide_test.py holds tools/observations/decide.py against.
TEST(RatioTest, IntervalsAreThoseOfTheObservationsTool) {
  std::ifstream file("tests/tools/observations/intervals.json");
  const nlohmann::json cases = nlohmann::json::parse(file);
  ASSERT_GE(cases.size(), 8u);
  for (const nlohmann::json& each : cases) {
    const Interval interval =
        MedianInterval(each.at("values").get<std::vector<double>>(), each.at("miss"));
    EXPECT_EQ(interval.median, each.at("median").get<double>()) << each;
    if (each.at("low").is_null()) {
      EXPECT_TRUE(std::isinf(interval.low) && interval.low < 0) << each;
      EXPECT_TRUE(std::isinf(interval.high) && interval.high > 0) << each;
    } else {
      EXPECT_EQ(interval.low, each.at("low").get<double>()) << each;
      EXPECT_EQ(interval.high, each.at("high").get<double>()) << each;
    }
  }
}

TEST(RatioTest, RatiosAreFormedWithinABlock) {
  EXPECT_EQ(BlockRatios({2, 4, 6, 9}, {1, 1, 3, 3}, {3, 1}), (std::vector<double>{4, 3}));
  // An interrupted run has whole blocks of the first mode alone.
  EXPECT_EQ(BlockRatios({2, 4, 6, 9}, {1, 1, 1}, {3, 1}), (std::vector<double>{4}));
  EXPECT_TRUE(BlockRatios({2}, {}, {1}).empty());
}

TEST(RatioTest, OneWithinTheIntervalIsNotDistinguishable) {
  EXPECT_TRUE(Distinguishable({.low = 1.01, .median = 1.1, .high = 1.2}));
  EXPECT_TRUE(Distinguishable({.low = 0.8, .median = 0.9, .high = 0.99}));
  EXPECT_FALSE(Distinguishable({.low = 0.9, .median = 1, .high = 1}));
}

}  // namespace
}  // namespace tp::bench
