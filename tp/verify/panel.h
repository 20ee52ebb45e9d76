// Panel: a tall matrix of kPanelWidth columns in double precision, and its product with a matrix.
//
// The reference and its error bounds are made of this one product. Each column of a panel is one
// output feature, or one row of dX, that is computed apart from all others.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace tp::verify {

inline constexpr int kPanelWidth = 16;

using PanelRow = std::array<double, kPanelWidth>;
using Panel = std::vector<PanelRow>;

// Element (i, j) is data[i * row_stride + j * column_stride]: a matrix or its transpose.
struct MatrixView {
  const double* data = nullptr;
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t row_stride = 0;
  int64_t column_stride = 0;
};

// out[i] += sum over j in [begin, end) of a(i, j) * b[j]. `out` has a.rows rows.
void AddProduct(const MatrixView& a, int64_t begin, int64_t end, const Panel& b, Panel* out);

// The same with |a(i, j)|.
void AddAbsProduct(const MatrixView& a, int64_t begin, int64_t end, const Panel& b, Panel* out);

}  // namespace tp::verify
