#include "tp/optim/learning_rate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace tp {
namespace {

TEST(LearningRate, RisesInALine) {
  const LearningRate rate = {.peak = 8, .least = 1, .warmup = 4, .steps = 11};
  EXPECT_EQ(rate.At(0), 2);
  EXPECT_EQ(rate.At(1), 4);
  EXPECT_EQ(rate.At(2), 6);
  EXPECT_EQ(rate.At(3), 8);
}

TEST(LearningRate, FallsAlongACosineToTheLastStep) {
  const LearningRate rate = {.peak = 8, .least = 2, .warmup = 1, .steps = 9};
  EXPECT_EQ(rate.At(0), 8);
  const double half = 2 + 6 * 0.5 * (1 + std::cos(0.25 * std::acos(-1.0)));
  EXPECT_DOUBLE_EQ(rate.At(2), half);
  EXPECT_DOUBLE_EQ(rate.At(4), 5);
  EXPECT_EQ(rate.At(8), 2);
  EXPECT_EQ(rate.At(1000), 2);
  for (int64_t step = 1; step < 9; ++step) EXPECT_LT(rate.At(step), rate.At(step - 1));
}

TEST(LearningRate, OfAFewSteps) {
  EXPECT_EQ((LearningRate{.peak = 8, .least = 2, .warmup = 0, .steps = 1}).At(0), 8);
  EXPECT_EQ((LearningRate{.peak = 8, .least = 2, .warmup = 0, .steps = 2}).At(0), 8);
  EXPECT_EQ((LearningRate{.peak = 8, .least = 2, .warmup = 0, .steps = 2}).At(1), 2);
  // Nothing but the way up.
  EXPECT_EQ((LearningRate{.peak = 8, .least = 2, .warmup = 4, .steps = 4}).At(3), 8);
  EXPECT_EQ((LearningRate{.peak = 8, .least = 2, .warmup = 4, .steps = 4}).At(1), 4);
}

// Within the roundings of a power, a difference and a quotient.
TEST(BiasCorrection, IsItsFormula) {
  EXPECT_DOUBLE_EQ(BiasCorrection(0.5, 0), 2);
  EXPECT_DOUBLE_EQ(BiasCorrection(0.5, 2), 1 / (1 - 0.125));
  EXPECT_EQ(BiasCorrection(0.9, 1'000'000), 1);
  EXPECT_EQ(BiasCorrection(0, 0), 1);
  // 1 - beta has lost digits; this has not.
  const double beta = 1 - std::numeric_limits<double>::epsilon();
  EXPECT_DOUBLE_EQ(BiasCorrection(beta, 0), 1 / std::numeric_limits<double>::epsilon());
}

}  // namespace
}  // namespace tp
