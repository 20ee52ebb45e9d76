#include "tp/verify/bounds.h"

#include <gtest/gtest.h>

#include <cmath>

namespace tp::verify {
namespace {

constexpr double kU32 = 0x1p-24;
constexpr double kU16 = 0x1p-8;  // bf16

TEST(Gamma, IsHighams) {
  EXPECT_EQ(Gamma(0, kU32), 0);
  EXPECT_DOUBLE_EQ(Gamma(1, 0.25), 0.25 / 0.75);
  EXPECT_DOUBLE_EQ(Gamma(1000, kU32), 1000 * kU32 / (1 - 1000 * kU32));
  EXPECT_TRUE(std::isinf(Gamma(256, kU16)));  // n u = 1: nothing is known
}

TEST(Gamma, ProbabilisticGrowsWithTheRoot) {
  const double lambda = Lambda(1e6, kRisk, kU32);
  EXPECT_DOUBLE_EQ(lambda, std::sqrt(2 * std::log(2e6 / kRisk)) / (1 - kU32));
  EXPECT_DOUBLE_EQ(ProbabilisticGamma(100, kU32, lambda),
                   std::expm1(lambda * 10 * kU32 + 100 * kU32 * kU32 / (1 - kU32)));
  EXPECT_GT(ProbabilisticGamma(4, kU32, lambda), Gamma(4, kU32));
  EXPECT_LT(ProbabilisticGamma(10000, kU32, lambda), Gamma(10000, kU32));
}

// The table of docs/numerics.md, with products in place of first-order sums.
TEST(ErrorOf, IsTheTable) {
  const int64_t terms = 250;  // K / P, of K = 1000 over 4 ranks
  const int ring = 3;
  // fp32: gamma_{K/P + d} up to second order.
  const Contraction fp32 = {.terms = terms,
                            .parts = 4,
                            .depth = ring,
                            .dtype = DType::kFloat32,
                            .accumulator_roundoff = kU32};
  const double local = Gamma(terms, kU32);
  const double reduced = Gamma(ring, kU32);
  EXPECT_DOUBLE_EQ(ErrorOf(fp32, 0).Tau(), local + reduced + local * reduced);
  EXPECT_LE(ErrorOf(fp32, 0).Tau(), Gamma(terms + ring, kU32));
  // tf32 inputs on tensor cores: the accumulator is the coarser of the two.
  Contraction tensor_core = fp32;
  tensor_core.accumulator_roundoff = kTensorCoreRoundoff;
  const double coarse = Gamma(terms, kTensorCoreRoundoff);
  EXPECT_DOUBLE_EQ(ErrorOf(tensor_core, 0).Tau(), coarse + reduced + coarse * reduced);
  // bf16 shares, reduced in bf16: (1 + gamma_{K/P}(u32)) (1 + gamma_{d+1}(u_bf16)) - 1, where an
  // addition in bf16 is one in fp32 that is then rounded.
  Contraction bf16 = fp32;
  bf16.dtype = DType::kBFloat16;
  const double stored = Gamma(ring + 1, StoreRoundoff(DType::kBFloat16));
  EXPECT_DOUBLE_EQ(ErrorOf(bf16, 0).Tau(), local + stored + local * stored);
  EXPECT_NEAR(StoreRoundoff(DType::kBFloat16), kU16, 2 * kU32);
  // Unsharded: one rounding at the store in bf16, none in fp32.
  Contraction whole = {.terms = 1000, .dtype = DType::kFloat32, .accumulator_roundoff = kU32};
  EXPECT_DOUBLE_EQ(ErrorOf(whole, 0).Tau(), Gamma(1000, kU32));
  whole.dtype = DType::kBFloat16;
  EXPECT_DOUBLE_EQ(ErrorOf(whole, 0).reduce, Gamma(1, StoreRoundoff(DType::kBFloat16)));
}

TEST(ErrorOf, TakesTheSmallerGamma) {
  const double lambda = Lambda(1e9, kRisk, kU32);
  Contraction sum = {.terms = 8, .accumulator_roundoff = kU32};
  EXPECT_EQ(ErrorOf(sum, lambda).accumulate, Gamma(8, kU32));
  sum.terms = 1 << 20;
  EXPECT_EQ(ErrorOf(sum, lambda).accumulate, ProbabilisticGamma(1 << 20, kU32, lambda));
  EXPECT_EQ(ErrorOf(sum, 0).accumulate, Gamma(1 << 20, kU32));
}

TEST(ErrorOf, UnderflowAddsHalfTheSmallestSubnormal) {
  EXPECT_EQ(UnderflowUnit(DType::kFloat16), 0x1p-25);
  EXPECT_EQ(RoundTo(DType::kFloat16, UnderflowUnit(DType::kFloat16)), 0);
  const Contraction sum = {
      .terms = 3, .parts = 2, .depth = 1, .dtype = DType::kFloat16, .accumulator_roundoff = kU32};
  EXPECT_GE(ErrorOf(sum, 0).absolute, 2 * 0x1p-25);
}

TEST(BalancedDepth, IsTheLogarithmRoundedUp) {
  const int expected[] = {0, 1, 2, 2, 3, 3, 3, 3, 4};
  for (int parts = 1; parts <= 9; ++parts) EXPECT_EQ(BalancedDepth(parts), expected[parts - 1]);
}

TEST(NumericModel, DefaultsToAnyOrder) {
  const NumericModel model = MakeModel(DType::kBFloat16, Mode::kColumn, 4, 3);
  EXPECT_EQ(model.tp_depth, 3);
  EXPECT_EQ(model.dp_depth, 2);
  EXPECT_EQ(model.accumulator_roundoff, kU32);
  EXPECT_TRUE(Validate(model).ok());
  NumericModel wrong = model;
  wrong.tp = 0;
  EXPECT_EQ(Validate(wrong).code(), StatusCode::kInvalidArgument);
  wrong = model;
  wrong.dp_depth = -1;
  EXPECT_FALSE(Validate(wrong).ok());
  wrong = model;
  wrong.accumulator_roundoff = 0;
  EXPECT_FALSE(Validate(wrong).ok());
}

}  // namespace
}  // namespace tp::verify
