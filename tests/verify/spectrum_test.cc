// Bounds on eigenvalues against eigenvalues that are known.

#include "tp/verify/spectrum.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tp/core/random.h"

namespace tp::verify {
namespace {

// The largest eigenvalue of [x 1]^T [x 1], from below, by power iteration.
double PowerIteration(const MatrixView& x) {
  std::vector<double> v(x.columns + 1, 1.0);
  double eigenvalue = 0;
  for (int i = 0; i < 2000; ++i) {
    std::vector<double> next(v.size(), 0.0);
    for (int64_t m = 0; m < x.rows; ++m) {
      double product = v.back();
      for (int64_t k = 0; k < x.columns; ++k) product += x.data[m * x.columns + k] * v[k];
      for (int64_t k = 0; k < x.columns; ++k) next[k] += x.data[m * x.columns + k] * product;
      next.back() += product;
    }
    double squares = 0;
    for (double element : next) squares += element * element;
    eigenvalue = std::sqrt(squares);
    for (size_t k = 0; k < v.size(); ++k) v[k] = next[k] / eigenvalue;
  }
  return eigenvalue;
}

// What rounding takes from an eigenvalue that is worked out so, relative to it: each element of v
// goes through a sum over columns, one over rows and one of squares (Higham, 2nd ed., ch. 3).
double Rounding(const MatrixView& x) {
  const auto terms = static_cast<double>(2 * (x.columns + 1) + x.rows + 4);
  return terms * std::numeric_limits<double>::epsilon();
}

TEST(Spectrum, BoundsAreAboveTheEigenvalueAndSharp) {
  const RandomTensor random(3, 0);
  uint64_t next = 0;
  for (int64_t rows : {1, 2, 20, 40}) {
    for (int64_t columns : {1, 7, 19, 20, 60}) {
      std::vector<double> elements(rows * columns);
      for (double& element : elements) element = random.Uniform(next++);
      const MatrixView x{elements.data(), rows, columns, columns, 1};
      const double eigenvalue = PowerIteration(x);
      EXPECT_GE(QuickEigenvalueBound(x), eigenvalue * (1 - Rounding(x)));
      EXPECT_GE(EigenvalueBound(x, 1e9), eigenvalue * (1 - Rounding(x)));
      EXPECT_LE(EigenvalueBound(x, 1e9), eigenvalue * 1.001);
      EXPECT_EQ(EigenvalueBound(x, 0), QuickEigenvalueBound(x));
    }
  }
}

TEST(Spectrum, ExtremesStayBounds) {
  for (double size : {0.0, 1e-200, 1e100, 1e200}) {
    const std::vector<double> elements(12, size);
    const MatrixView x{elements.data(), 3, 4, 4, 1};
    EXPECT_GE(EigenvalueBound(x, 1e9), 3 * (4 * size * size + 1) * (1 - Rounding(x))) << size;
  }
}

// A bound that allows for its own rounding, up to six operations' worth of it on either side.
void ExpectJustAbove(double bound, double exact) {
  EXPECT_GE(bound, exact);
  EXPECT_LE(bound, exact * (1 + 12 * std::numeric_limits<double>::epsilon()));
}

TEST(Spectrum, GrowthIsTheLargestFactor) {
  EXPECT_EQ(GrowthBound(0, 100), 1);
  EXPECT_EQ(GrowthBound(0.01, 100), 1);  // every factor between 0 and 1
  ExpectJustAbove(GrowthBound(0.02, 100), 1);
  ExpectJustAbove(GrowthBound(0.05, 100), 4);
  ExpectJustAbove(GrowthBound(-0.01, 100), 2);  // uphill
  EXPECT_TRUE(std::isinf(GrowthBound(1, std::numeric_limits<double>::infinity())));
  EXPECT_TRUE(std::isinf(GrowthBound(1, std::nan(""))));
}

}  // namespace
}  // namespace tp::verify
