// The errors that functions.cc states, against the functions: on a sample of the floats, and, where
// TP_ALL_FLOATS is set (//tests/backends/cpu:all_floats_test), on all of them.
#include "backends/cpu/functions.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "tests/backends/cpu/function_error.h"

namespace tp::cpu {
namespace {

constexpr uint64_t kAll = uint64_t{1} << 32;

void Eigen(Function function, std::span<const float> in, std::span<float> out) {
  Apply(function, in, out);
}

class EachFunction : public testing::TestWithParam<Function> {};

TEST_P(EachFunction, IsAsNearAsItSays) {
  const bool all = std::getenv("TP_ALL_FLOATS") != nullptr;
  const Function function = GetParam();
  const auto implementation = [&](auto in, auto out) { Eigen(function, in, out); };
  // A step that is odd meets every exponent and every last bit.
  const MeasuredError measured = MeasureError(function, implementation, 0, kAll, all ? 1 : 1009);
  if (ErrorsOfFunctions() == nullptr) return;  // nothing is stated: see IsUnboundedWhereUnknown
  const FunctionError& stated = ErrorsOfFunctions()->Of(function);
  const FunctionError error = measured.error();
  EXPECT_EQ(measured.normal.wrong, 0) << "first at " << measured.normal.first_wrong;
  EXPECT_LE(error.ulps, stated.ulps) << "at " << measured.normal.worst << ", " << FunctionLibrary();
  EXPECT_LE(error.below, stated.below) << FunctionLibrary();
  EXPECT_LE(error.least, stated.least) << FunctionLibrary();
  EXPECT_GE(error.overflow, stated.overflow) << FunctionLibrary();
  // Nor is it said to be worse than it is.
  EXPECT_GE(error.ulps, 0.4 * stated.ulps) << FunctionLibrary();
}

// Whatever lies before and after an element, its bits are the same.
TEST_P(EachFunction, GivesAnElementTheSameBitsAnywhere) {
  std::vector<float> in;
  for (int i = 0; i < 67; ++i) in.push_back(0.37F * static_cast<float>(i + 1));
  std::vector<float> whole(in.size());
  Apply(GetParam(), in, whole);
  for (size_t i = 0; i < in.size(); ++i) {
    float alone = 0;
    Apply(GetParam(), std::span(in).subspan(i, 1), std::span(&alone, 1));
    EXPECT_EQ(alone, whole[i]) << i;
  }
}

// What follows from the table: an argument that is off, in a function that is off.
TEST_P(EachFunction, StaysWithinItsBound) {
  if (ErrorsOfFunctions() == nullptr) return;
  Rounding rounding = RoundingOf(DType::kFloat32);
  rounding.functions = ErrorsOfFunctions();
  const RoundingScope scope(rounding);
  double worst = 0;
  for (int i = 1; i < 4000; ++i) {
    const float a = 0.0123F * static_cast<float>(i % 90 + 1);
    const float b = 0.0457F * static_cast<float>(i % 77 + 1);
    const float argument = a * b;
    float observed = 0;
    Apply(GetParam(), std::span(&argument, 1), std::span(&observed, 1));
    const BoundedNumber expected =
        tp::Apply(GetParam(), BoundedNumber::Exactly(a) * BoundedNumber::Exactly(b));
    const double error = std::abs(observed - expected.value);
    ASSERT_LE(error, expected.error) << argument;
    worst = std::max(worst, error / expected.error);
  }
  EXPECT_GT(worst, 0.3);
}

// Where nobody has worked it out, anything may stand there.
TEST_P(EachFunction, IsUnboundedWhereUnknown) {
  const RoundingScope unknown(RoundingOf(DType::kFloat32));
  EXPECT_EQ(tp::Apply(GetParam(), BoundedNumber::Exactly(1)).error, HUGE_VAL);
}

// A slope over an interval is the derivative somewhere in it, and all these derivatives are
// monotone there.
TEST_P(EachFunction, HasTheDerivativeOfItsDual) {
  const auto dual = [](double x) { return tp::Apply(GetParam(), DualNumber(x, 1)); };
  constexpr double kStep = 0x1p-10;
  for (double x : {0.25, 1.0, 3.0}) {
    const double slope = (dual(x + kStep).value - dual(x).value) / kStep;
    EXPECT_EQ(dual(x).value, tp::Apply(GetParam(), x));
    EXPECT_LT(std::min(dual(x).derivative, dual(x + kStep).derivative), slope);
    EXPECT_GT(std::max(dual(x).derivative, dual(x + kStep).derivative), slope);
  }
}

INSTANTIATE_TEST_SUITE_P(Functions, EachFunction, testing::ValuesIn(kAllFunctions),
                         [](const auto& param) { return std::string(Name(param.param)); });

}  // namespace
}  // namespace tp::cpu
