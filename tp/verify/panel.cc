#include "tp/verify/panel.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <cstring>

namespace tp::verify {
namespace {

// A tile of `a` at a time: kTileRows x kTileColumns.
constexpr int kTileRows = 8;
constexpr int64_t kTileColumns = 64;

using Tile = std::array<std::array<double, kTileRows>, kTileColumns>;

// tile[j][i] = a(first_row + i, first_column + j), or its absolute value; 0 beyond the last row.
void CopyTile(const MatrixView& a, int64_t first_row, int64_t first_column, int64_t columns,
              bool absolute, Tile* tile) {
  const auto rows = static_cast<int>(std::min<int64_t>(kTileRows, a.rows - first_row));
  for (int64_t j = 0; j < columns; ++j) {
    (*tile)[j] = {};
    for (int i = 0; i < rows; ++i) {
      const double value =
          a.data[(first_row + i) * a.row_stride + (first_column + j) * a.column_stride];
      (*tile)[j][i] = absolute ? std::abs(value) : value;
    }
  }
}

// Half a panel row: a GCC vector, because the sums have to stay in registers.
using Vector = double __attribute__((vector_size(64)));
constexpr int kVectorWidth = sizeof(Vector) / sizeof(double);

// sums[i] = sum over j of tile[j][i] * b[j].
void MultiplyTile(const Tile& tile, int64_t columns, const PanelRow* b,
                  std::array<PanelRow, kTileRows>* sums) {
  for (int half = 0; half < kPanelWidth; half += kVectorWidth) {
    Vector s0 = {}, s1 = {}, s2 = {}, s3 = {}, s4 = {}, s5 = {}, s6 = {}, s7 = {};
    for (int64_t j = 0; j < columns; ++j) {
      Vector v;
      std::memcpy(&v, &b[j][half], sizeof(v));
      s0 += tile[j][0] * v;
      s1 += tile[j][1] * v;
      s2 += tile[j][2] * v;
      s3 += tile[j][3] * v;
      s4 += tile[j][4] * v;
      s5 += tile[j][5] * v;
      s6 += tile[j][6] * v;
      s7 += tile[j][7] * v;
    }
    const Vector all[kTileRows] = {s0, s1, s2, s3, s4, s5, s6, s7};
    for (int i = 0; i < kTileRows; ++i) std::memcpy(&(*sums)[i][half], &all[i], sizeof(Vector));
  }
}

void Add(const MatrixView& a, int64_t begin, int64_t end, const Panel& b, bool absolute,
         Panel* out) {
  CHECK_EQ(static_cast<int64_t>(out->size()), a.rows);
  CHECK(begin <= end && end <= a.columns && end <= static_cast<int64_t>(b.size()));
  Tile tile;
  std::array<PanelRow, kTileRows> sums;
  for (int64_t j = begin; j < end; j += kTileColumns) {
    const int64_t columns = std::min(kTileColumns, end - j);
    for (int64_t first = 0; first < a.rows; first += kTileRows) {
      CopyTile(a, first, j, columns, absolute, &tile);
      MultiplyTile(tile, columns, b.data() + j, &sums);
      const int64_t rows = std::min<int64_t>(kTileRows, a.rows - first);
      for (int64_t i = 0; i < rows; ++i) {
        for (int f = 0; f < kPanelWidth; ++f) (*out)[first + i][f] += sums[i][f];
      }
    }
  }
}

}  // namespace

void AddProduct(const MatrixView& a, int64_t begin, int64_t end, const Panel& b, Panel* out) {
  Add(a, begin, end, b, false, out);
}

void AddAbsProduct(const MatrixView& a, int64_t begin, int64_t end, const Panel& b, Panel* out) {
  Add(a, begin, end, b, true, out);
}

}  // namespace tp::verify
