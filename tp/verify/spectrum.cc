#include "tp/verify/spectrum.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "tp/verify/bounds.h"

namespace tp::verify {
namespace {

constexpr double kDoubleRoundoff = 0x1p-53;
constexpr int kMostSquarings = 12;  // of a 20 x 20 matrix: at most 0.04 % above the eigenvalue

// A square matrix, row-major.
struct Square {
  int64_t size = 0;
  std::vector<double> elements;

  double* Row(int64_t i) { return &elements[i * size]; }
  const double* Row(int64_t i) const { return &elements[i * size]; }
};

double FrobeniusNorm(const Square& matrix) {
  double largest = 0;
  for (double element : matrix.elements) largest = std::max(largest, std::abs(element));
  if (largest == 0 || !std::isfinite(largest)) return largest;
  double squares = 0;
  for (double element : matrix.elements) squares += (element / largest) * (element / largest);
  return largest * std::sqrt(squares);
}

// X~ X~^T or X~^T X~, whichever is smaller.
Square Gram(const MatrixView& x) {
  const bool by_rows = x.rows <= x.columns + 1;
  const MatrixView a = by_rows ? x
                               : MatrixView{x.data, x.columns, x.rows, x.column_stride,
                                            x.row_stride};  // a a^T, but for the ones
  const int64_t size = by_rows ? x.rows : x.columns + 1;
  Square gram{size, std::vector<double>(size * size)};
  const auto at = [&](int64_t i, int64_t j) {
    return i < a.rows ? a.data[i * a.row_stride + j * a.column_stride] : 1.0;
  };
  for (int64_t i = 0; i < size; ++i) {
    for (int64_t other = 0; other <= i; ++other) {
      double sum = by_rows ? 1 : 0;
      for (int64_t j = 0; j < a.columns; ++j) sum += at(i, j) * at(other, j);
      gram.Row(i)[other] = gram.Row(other)[i] = sum;
    }
  }
  return gram;
}

Square SquareOf(const Square& matrix) {
  Square square{matrix.size, std::vector<double>(matrix.elements.size())};
  for (int64_t i = 0; i < matrix.size; ++i) {
    for (int64_t k = 0; k < matrix.size; ++k) {
      const double factor = matrix.Row(i)[k];
      for (int64_t j = 0; j < matrix.size; ++j) square.Row(i)[j] += factor * matrix.Row(k)[j];
    }
  }
  return square;
}

}  // namespace

double QuickEigenvalueBound(const MatrixView& x) {
  double squares = static_cast<double>(x.rows);
  double most_of_row = 0;
  std::vector<double> columns(x.columns, 0.0);
  for (int64_t i = 0; i < x.rows; ++i) {
    double row = 1;
    for (int64_t j = 0; j < x.columns; ++j) {
      const double element = std::abs(x.data[i * x.row_stride + j * x.column_stride]);
      squares += element * element;
      row += element;
      columns[j] += element;
    }
    most_of_row = std::max(most_of_row, row);
  }
  const double most_of_column =
      std::max(static_cast<double>(x.rows), *std::max_element(columns.begin(), columns.end()));
  const auto elements = static_cast<double>(x.rows) * static_cast<double>(x.columns + 1);
  return std::min(squares, most_of_row * most_of_column) *
         (1 + 2 * Gamma(elements + 2, kDoubleRoundoff));
}

// With H_0 = G and H_{i+1} = (H_i / N_i)^2, rounded, where N_i is H_i's Frobenius norm:
// ||H_i / N_i||^2 <= ||H_{i+1}|| + gamma, as ||(H_i / N_i)^2||_F is at most 1.
double EigenvalueBound(const MatrixView& x, double max_multiply_adds) {
  const double quick = QuickEigenvalueBound(x);
  const auto rows = static_cast<double>(x.rows);
  const auto columns = static_cast<double>(x.columns + 1);
  const double size = std::min(rows, columns);
  double left = max_multiply_adds - size * rows * columns;
  if (left < 0 || !std::isfinite(quick)) return quick;
  Square power = Gram(x);
  std::vector<double> norms = {FrobeniusNorm(power)};
  if (norms[0] == 0 || !std::isfinite(norms[0])) return quick;
  while (static_cast<int>(norms.size()) <= kMostSquarings && left > size * size * size) {
    left -= size * size * size;
    for (double& element : power.elements) element /= norms.back();
    power = SquareOf(power);
    norms.push_back(FrobeniusNorm(power));
  }
  const double rounding = Gamma(size + 8, kDoubleRoundoff);
  double norm = norms.back() * (1 + Gamma(size * size + 8, kDoubleRoundoff));
  for (size_t i = norms.size() - 1; i-- > 0;) norm = norms[i] * std::sqrt(norm + rounding);
  // The Gram matrix is rounded too.
  norm += Gamma(std::max(rows, columns) + 8, kDoubleRoundoff) * quick * size;
  return std::min(quick, norm);
}

double GrowthBound(double rate, double eigenvalue_bound) {
  if (rate == 0) return 1;
  const double reach = rate * eigenvalue_bound;
  if (!std::isfinite(reach)) return std::numeric_limits<double>::infinity();
  return std::max(1.0, std::abs(1 - reach) + 8 * kDoubleRoundoff * (1 + std::abs(reach)));
}

}  // namespace tp::verify
