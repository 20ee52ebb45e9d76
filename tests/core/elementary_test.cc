// Elementary functions of numbers that are known up to a bound.
#include "tp/core/elementary.h"

#include <gtest/gtest.h>

#include <cmath>

namespace tp {
namespace {

FunctionErrors AllOff(double least) {
  FunctionErrors errors;
  for (FunctionError& error : errors.of) error = {.ulps = 1, .least = least};
  return errors;
}

BoundedNumber ExpNearZero(double least) {
  const FunctionErrors errors = AllOff(least);
  Rounding rounding;
  rounding.functions = &errors;
  const RoundingScope scope(rounding);
  return Apply(Function::kExp, BoundedNumber(0, 0x1p-20, 0, 0));
}

// A softmax's greatest score less itself is 0, but for what both were rounded by.
TEST(Elementary, IsBoundedWhereTheArgumentMayBeZero) {
  const BoundedNumber near_one = ExpNearZero(0);
  EXPECT_EQ(near_one.value, 1);
  EXPECT_GE(near_one.error, std::expm1(0x1p-20));
  EXPECT_LE(near_one.error, 2 * 0x1p-20);
}

TEST(Elementary, SaysNothingOfArgumentsThatNobodyWentThrough) {
  EXPECT_TRUE(std::isinf(ExpNearZero(0x1p-126).error));
}

}  // namespace
}  // namespace tp
