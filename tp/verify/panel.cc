#include "tp/verify/panel.h"

#include <glog/logging.h>

#include <cmath>

namespace tp::verify {
namespace {

// A few rows at a time, whose sums stay in registers while b streams by.
template <bool kAbs, int kRows>
void AddRows(const MatrixView& a, int64_t first_row, int64_t begin, int64_t end, const Panel& b,
             Panel* out) {
  PanelRow sums[kRows] = {};
  const double* row = a.data + first_row * a.row_stride;
  for (int64_t j = begin; j < end; ++j) {
    const PanelRow& values = b[j];
    for (int i = 0; i < kRows; ++i) {
      const double element = row[i * a.row_stride + j * a.column_stride];
      const double factor = kAbs ? std::abs(element) : element;
      for (int f = 0; f < kPanelWidth; ++f) sums[i][f] += factor * values[f];
    }
  }
  for (int i = 0; i < kRows; ++i) {
    for (int f = 0; f < kPanelWidth; ++f) (*out)[first_row + i][f] += sums[i][f];
  }
}

template <bool kAbs>
void Add(const MatrixView& a, int64_t begin, int64_t end, const Panel& b, Panel* out) {
  CHECK_EQ(static_cast<int64_t>(out->size()), a.rows);
  CHECK(begin <= end && end <= a.columns && end <= static_cast<int64_t>(b.size()));
  constexpr int kTile = 4;
  int64_t i = 0;
  for (; i + kTile <= a.rows; i += kTile) AddRows<kAbs, kTile>(a, i, begin, end, b, out);
  for (; i < a.rows; ++i) AddRows<kAbs, 1>(a, i, begin, end, b, out);
}

}  // namespace

void AddProduct(const MatrixView& a, int64_t begin, int64_t end, const Panel& b, Panel* out) {
  Add<false>(a, begin, end, b, out);
}

void AddAbsProduct(const MatrixView& a, int64_t begin, int64_t end, const Panel& b, Panel* out) {
  Add<true>(a, begin, end, b, out);
}

}  // namespace tp::verify
