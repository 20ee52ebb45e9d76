#include "tp/core/bounded.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "tp/core/dtype.h"

namespace tp {
namespace {

// Of any size within reason, often with few bits, so that some of it is exact.
float DrawFloat() {
  const auto bits = *rc::gen::element(3, 8, 24);
  const auto integer = *rc::gen::inRange(-(1 << (bits - 1)), 1 << (bits - 1));
  return std::ldexp(static_cast<float>(integer), *rc::gen::inRange(-20, 20));
}

TEST(GridOf, IsTheLastBit) {
  EXPECT_EQ(GridOf(0), HUGE_VAL);
  EXPECT_EQ(GridOf(-12), 4);
  EXPECT_EQ(GridOf(1.5), 0.5);
  EXPECT_EQ(GridOf(0x1p-1074), 0x1p-1074);
  EXPECT_EQ(GridOf(0x3p-1074), 0x1p-1074);
  EXPECT_EQ(GridOf(0x1.8p1023), 0x1p1022);
}

template <typename T>
T Formula(T a, T b, T c, T d) {
  return (a * b + c - b * d) / (d * d + T(1)) - T(0.1) * a;
}

RC_GTEST_PROP(BoundedNumber, HoldsWhateverIsFused, ()) {
  const float a = DrawFloat(), b = DrawFloat(), c = DrawFloat(), d = DrawFloat();
  const RoundingScope scope(RoundingOf(DType::kFloat32));
  const auto exactly = [](float x) { return BoundedNumber::Exactly(x); };
  const BoundedNumber bounded = Formula(exactly(a), exactly(b), exactly(c), exactly(d));
  const float plain = Formula(a, b, c, d);
  const float fused = std::fma(-0.1F, a, std::fma(-b, d, std::fma(a, b, c)) / std::fma(d, d, 1.0F));
  RC_LOG() << bounded.value << " " << bounded.error << " " << plain << " " << fused << "\n";
  if (!std::isfinite(bounded.error)) return;
  RC_ASSERT(std::abs(plain - bounded.value) <= bounded.error);
  RC_ASSERT(std::abs(fused - bounded.value) <= bounded.error);
}

// The error of a number that is `off` from 1 + 2^-10 already, and of one beyond the range of fp16.
TEST(Narrowed, CountsOneRoundingToTheOperandsType) {
  const double number = 1 + 0x1p-10, off = 0x1p-30;
  const auto error = [&](DType dtype, double value, double before) {
    const RoundingScope scope(RoundingOn(dtype));
    const BoundedNumber x(value, before, value, before == 0 ? GridOf(value) : 0);
    const BoundedNumber narrow = BoundedNumber::Narrowed(x);
    EXPECT_EQ(narrow.value, value);
    EXPECT_EQ(BoundedNumber::Narrowing(x).value, 0);
    return narrow.error;
  };
  for (DType dtype : {DType::kBFloat16, DType::kFloat16}) {
    const double u = RoundingOf(dtype).roundoff;
    EXPECT_GE(error(dtype, number, off), std::abs(RoundTo(dtype, number + off) - number));
    EXPECT_GE(error(dtype, number, off), u + off);
    EXPECT_LE(error(dtype, number, off), (u * (number + off) + off) * (1 + u));
    EXPECT_EQ(error(dtype, 3, 0), 0) << "a number of the type";
  }
  EXPECT_EQ(error(DType::kFloat16, number, 0), 0) << "a number of fp16";
  EXPECT_GE(error(DType::kBFloat16, number, 0), 0x1p-10);
  EXPECT_EQ(error(DType::kFloat16, 65536, 0), HUGE_VAL);
  EXPECT_EQ(error(DType::kBFloat16, 65536, 0), 0);
  for (DType dtype : {DType::kFloat32, DType::kFloat64, DType::kInt32}) {
    EXPECT_EQ(error(dtype, 1 + 0x1p-20, off), off) << "nothing is narrower";
  }
}

// Adds two of `terms` until one is left.
float SumInAnyOrder(std::vector<float> terms) {
  while (terms.size() > 1) {
    const auto size = terms.size();
    std::swap(terms[*rc::gen::inRange<size_t>(0, size)], terms[size - 1]);
    std::swap(terms[*rc::gen::inRange<size_t>(0, size - 1)], terms[size - 2]);
    terms[size - 2] += terms[size - 1];
    terms.pop_back();
  }
  return terms.empty() ? 0 : terms[0];
}

RC_GTEST_PROP(BoundedSum, HoldsInAnyOrder, ()) {
  std::vector<float> terms(*rc::gen::inRange<size_t>(0, 40));
  for (float& term : terms) term = DrawFloat();
  const RoundingScope scope(RoundingOf(DType::kFloat32));
  BoundedSum sum;
  for (float term : terms) sum.Add(BoundedNumber::Exactly(term));
  const BoundedNumber total = sum.Total();
  for (int i = 0; i < 4; ++i) {
    const float observed = SumInAnyOrder(terms);
    RC_ASSERT(std::abs(observed - total.value) <= total.error);
  }
  RC_CLASSIFY(total.error == 0, "exact");
}

// Shares are sums of their own; what they add up to has been through their roundings alone.
RC_GTEST_PROP(BoundedSum, HoldsOverRanks, ()) {
  const auto ranks = *rc::gen::inRange<size_t>(1, 5);
  const auto each = *rc::gen::inRange<size_t>(1, 10);
  Rounding rounding = RoundingOf(DType::kFloat32);
  rounding.shared = true;
  rounding.longest_share = 1.0 / static_cast<double>(ranks);
  const RoundingScope scope(rounding);
  BoundedSum sum;
  double observed = 0;
  for (size_t rank = 0; rank < ranks; ++rank) {
    std::vector<float> terms(each);
    for (float& term : terms) sum.Add(BoundedNumber::Exactly(term = DrawFloat()));
    observed += SumInAnyOrder(terms);
  }
  const BoundedNumber total = sum.Total();
  RC_ASSERT(std::abs(observed - total.value) <= total.error);
}

TEST(BoundedNumber, IsExactWhereNothingCanRound) {
  const RoundingScope scope(RoundingOf(DType::kFloat32));
  const auto exactly = [](double x) { return BoundedNumber::Exactly(x); };
  EXPECT_EQ((exactly(3) * exactly(5) + exactly(0.25)).error, 0);
  EXPECT_EQ(BoundedNumber(0.5).error, 0);
  EXPECT_GT(BoundedNumber(0.1).error, 0);
  // 24 bits and no more: 2^24 + 1 is none.
  EXPECT_EQ((exactly(0x1p23) + exactly(0x1p23)).error, 0);
  EXPECT_EQ((exactly(0x1p24) + exactly(1)).error > 0, true);
  EXPECT_EQ((exactly(0x1p24) + exactly(2)).error, 0);
  // A product below the smallest subnormal.
  EXPECT_GT((exactly(0x1p-100) * exactly(0x1p-100)).error, 0);
  BoundedSum small;
  for (int i = 0; i < 1000; ++i) small.Add(exactly(i % 2 == 0 ? 100 : -100));
  EXPECT_EQ(small.Total().error, 0);
  BoundedSum large;  // the total is small, but an order of summation exists that passes 2^24
  for (int i = 0; i < 1000; ++i) large.Add(exactly(i % 2 == 0 ? 100001 : -100000));
  EXPECT_GT(large.Total().error, 0);
}

// The worst of a few adversaries is within a factor of the bound: it is no guess.
TEST(BoundedSum, IsReached) {
  const RoundingScope scope(RoundingOf(DType::kFloat32));
  BoundedSum sum;
  float observed = 1;
  sum.Add(BoundedNumber::Exactly(1));
  const float half = 0x1p-24F;  // rounds to even: each addition loses all of it
  constexpr int kTerms = 1000;
  for (int i = 0; i < kTerms; ++i) {
    sum.Add(BoundedNumber::Exactly(half));
    observed += half;
  }
  const double error = std::abs(observed - sum.Total().value);
  EXPECT_LE(error, sum.Total().error);
  EXPECT_GT(error, 0.99 * sum.Total().error);
}

TEST(BoundedNumber, IsUnboundedBeyondTheRange) {
  const RoundingScope scope(RoundingOf(DType::kFloat32));
  EXPECT_EQ((BoundedNumber(0x1p100) * BoundedNumber(0x1p100)).error, HUGE_VAL);
  EXPECT_EQ((BoundedNumber(1) / BoundedNumber(0.0)).error, HUGE_VAL);
  BoundedSum sum;
  for (int i = 0; i < 4; ++i) sum.Add(BoundedNumber::Exactly(i % 2 == 0 ? 0x1p127 : -0x1p127));
  EXPECT_EQ(sum.Total().error, HUGE_VAL);
}

}  // namespace
}  // namespace tp
