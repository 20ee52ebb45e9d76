// Matrix products against plain loops in long double: every type, every order of each operand,
// packed and as rectangles of larger matrices.
#include "backends/cpu/gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "tests/backends/cpu/test_matrix.h"
#include "tp/core/dtype.h"
#include "tp/verify/bounds.h"

namespace tp::cpu {
namespace {

struct Size {
  int64_t m, n, k;
};
// Vectors, nothing to contract, nothing at all, the small products that Eigen treats apart, and
// those beyond them.
constexpr Size kSizes[] = {{1, 1, 1},    {1, 17, 23},  {17, 1, 23}, {17, 23, 1},
                           {4, 5, 0},    {0, 3, 2},    {3, 0, 2},   {3, 5, 7},
                           {33, 19, 27}, {1, 20, 300}, {40, 1, 67}, {32, 16, 64}};

class GemmTest : public testing::TestWithParam<DType> {
 protected:
  // Checks one product of each size, each layout of each operand, with and without a bias.
  void ForAll(
      const std::function<void(TestMatrix&, TestMatrix&, TestMatrix*, TestMatrix&)>& check) {
    for (const Size& size : kSizes) {
      for (Layout a_layout : kGemmLayouts) {
        for (Layout b_layout : kGemmLayouts) {
          for (Layout c_layout : kGemmLayouts) {
            for (bool with_bias : {false, true}) {
              SCOPED_TRACE(std::to_string(size.m) + " x " + std::to_string(size.n) + " x " +
                           std::to_string(size.k) + ": " + Name(a_layout) + ", " + Name(b_layout) +
                           ", " + Name(c_layout) + (with_bias ? ", bias" : ""));
              TestMatrix a(dtype_, size.m, size.k, a_layout);
              TestMatrix b(dtype_, size.k, size.n, b_layout);
              TestMatrix bias(dtype_, 1, size.n, a_layout);
              TestMatrix c(dtype_, size.m, size.n, c_layout);
              check(a, b, with_bias ? &bias : nullptr, c);
              EXPECT_TRUE(a.SurroundingsIntact() && b.SurroundingsIntact() &&
                          c.SurroundingsIntact());
              if (HasFailure()) return;
            }
          }
        }
      }
    }
  }

  void Multiply(TestMatrix& a, TestMatrix& b, TestMatrix* bias, TestMatrix& c) const {
    const Tensor on_a = a.view(), on_b = b.view(), on_c = c.view();
    const Tensor on_bias = bias != nullptr ? bias->view() : Matrix();
    const Tensor* const bias_or_none = bias != nullptr ? &on_bias : nullptr;
    std::vector<double> scratch(
        GemmScratchBytes(dtype_, on_a, on_b, bias_or_none, on_c) / sizeof(double) + 1);
    Gemm(dtype_, on_a, on_b, bias_or_none, on_c, reinterpret_cast<std::byte*>(scratch.data()));
  }

  const DType dtype_ = GetParam();
};

// The sums of products, and of their absolute values; row-major.
struct Sums {
  std::vector<long double> values;
  std::vector<long double> magnitudes;
};
Sums SumsOf(const TestMatrix& a, const TestMatrix& b, const TestMatrix* bias) {
  const std::vector<double> in_a = a.Values();
  const std::vector<double> in_b = b.Values();
  Sums sums;
  for (int64_t i = 0; i < a.rows(); ++i) {
    for (int64_t j = 0; j < b.columns(); ++j) {
      long double value = bias != nullptr ? bias->At(0, j) : 0;
      long double magnitude = std::abs(value);
      for (int64_t k = 0; k < a.columns(); ++k) {
        const long double product =
            static_cast<long double>(in_a[i * a.columns() + k]) * in_b[k * b.columns() + j];
        value += product;
        magnitude += std::abs(product);
      }
      sums.values.push_back(value);
      sums.magnitudes.push_back(magnitude);
    }
  }
  return sums;
}

TEST_P(GemmTest, IsExactOnIntegers) {
  ForAll([&](TestMatrix& a, TestMatrix& b, TestMatrix* bias, TestMatrix& c) {
    a.FillIntegers(1);
    b.FillIntegers(2);
    if (bias != nullptr) bias->FillIntegers(3);
    Multiply(a, b, bias, c);
    const Sums sums = SumsOf(a, b, bias);
    const std::vector<double> actual = c.Values();
    for (size_t i = 0; i < actual.size(); ++i) {
      ASSERT_EQ(actual[i], RoundTo(dtype_, static_cast<double>(sums.values[i]))) << i;
    }
  });
}

TEST_P(GemmTest, StaysWithinTheBound) {
  const double u = UnitRoundoff(AccumulatorOf(dtype_));
  ForAll([&](TestMatrix& a, TestMatrix& b, TestMatrix* bias, TestMatrix& c) {
    a.FillUniform(4);
    b.FillUniform(5);
    if (bias != nullptr) bias->FillUniform(6);
    Multiply(a, b, bias, c);
    const double gamma = verify::Gamma(static_cast<double>(a.columns() + 1), u);
    // One rounding at the store, where the accumulator is wider.
    const double store = dtype_ == AccumulatorOf(dtype_) ? 0 : UnitRoundoff(dtype_);
    const Sums sums = SumsOf(a, b, bias);
    const std::vector<double> actual = c.Values();
    for (size_t i = 0; i < actual.size(); ++i) {
      const auto accumulated = static_cast<double>(gamma * sums.magnitudes[i]);
      const double bound = accumulated +
                           store * (std::abs(static_cast<double>(sums.values[i])) + accumulated) +
                           verify::UnderflowUnit(dtype_);
      ASSERT_LE(std::abs(static_cast<double>(actual[i] - sums.values[i])), bound) << i;
    }
  });
}

TEST_P(GemmTest, AccumulatesBeyondTheRangeOfTheTypeAndRoundsAtTheStore) {
  const double large = dtype_ == DType::kFloat16 ? 60000 : 0x1p100;
  TestMatrix a(dtype_, 2, 3, Layout::kRows);
  TestMatrix b(dtype_, 3, 1, Layout::kRows);
  TestMatrix c(dtype_, 2, 1, Layout::kRows);
  for (int64_t k = 0; k < 3; ++k) b.Set(k, 0, 1);
  a.Set(0, 0, large);
  a.Set(0, 1, large);  // beyond fp16 for a moment
  a.Set(0, 2, -large);
  for (int64_t k = 0; k < 3; ++k) a.Set(1, k, large);
  Multiply(a, b, nullptr, c);
  EXPECT_EQ(c.At(0, 0), RoundTo(dtype_, large));
  EXPECT_EQ(c.At(1, 0), RoundTo(dtype_, 3 * RoundTo(dtype_, large)));
}

TEST_P(GemmTest, PassesOnNan) {
  TestMatrix a(dtype_, 30, 30, Layout::kRows);
  TestMatrix b(dtype_, 30, 30, Layout::kColumns);
  TestMatrix c(dtype_, 30, 30, Layout::kRows);
  a.FillIntegers(1);
  b.FillIntegers(2);
  a.Set(7, 3, std::numeric_limits<double>::quiet_NaN());
  Multiply(a, b, nullptr, c);
  for (int64_t i = 0; i < 30; ++i) {
    for (int64_t j = 0; j < 30; ++j) EXPECT_EQ(std::isnan(c.At(i, j)), i == 7);
  }
}

TEST(GemmLibraryTest, IsNamed) {
  const std::string name = GemmLibrary();
  EXPECT_TRUE(name.starts_with("OpenBLAS 0.") || name.starts_with("Eigen 3.")) << name;
}

INSTANTIATE_TEST_SUITE_P(All, GemmTest, testing::ValuesIn(kAllDTypes),
                         [](const auto& info) { return std::string(Name(info.param)); });

}  // namespace
}  // namespace tp::cpu
