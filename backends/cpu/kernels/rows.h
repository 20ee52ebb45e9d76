// Loops over the rows of strided matrices, and sums in a fixed order: what the elementwise and
// reducing kernels are written with.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "backends/cpu/kernels.h"

namespace tp::cpu {

inline Matrix Transposed(const Matrix& m) {
  return {m.data, m.columns, m.rows, m.column_stride, m.row_stride};
}

// Whether the rows are the near direction in memory, so that the loops should be swapped.
inline bool ColumnsOutermost(const Matrix& m) {
  return m.rows > 1 && (m.columns == 1 || std::abs(m.row_stride) < std::abs(m.column_stride));
}

template <typename T>
struct Row {
  T* data;
  int64_t stride;
  T& operator[](int64_t j) const { return data[j * stride]; }
};

template <typename T>
struct PackedRow {
  T* data;
  T& operator[](int64_t j) const { return data[j]; }
};

// Calls body(columns, row of each matrix) for every row of the like-shaped `first`, `rest`. Rows
// that are all contiguous get a type that says so, and the compiler vectorises them.
template <typename T, typename Body, typename... Rest>
void ForEachRowAsItLies(Body&& body, const Matrix& first, const Rest&... rest) {
  const bool packed = first.column_stride == 1 && ((rest.column_stride == 1) && ...);
  for (int64_t i = 0; i < first.rows; ++i) {
    const auto at = [i](const Matrix& m) { return static_cast<T*>(m.data) + i * m.row_stride; };
    if (packed) {
      body(first.columns, PackedRow<T>{at(first)}, PackedRow<T>{at(rest)}...);
    } else {
      body(first.columns, Row<T>{at(first), first.column_stride},
           Row<T>{at(rest), rest.column_stride}...);
    }
  }
}

// The same in the direction in which `first` is contiguous: rows may be columns.
template <typename T, typename Body, typename... Rest>
void ForEachRow(Body&& body, const Matrix& first, const Rest&... rest) {
  if (ColumnsOutermost(first)) {
    ForEachRowAsItLies<T>(body, Transposed(first), Transposed(rest)...);
  } else {
    ForEachRowAsItLies<T>(body, first, rest...);
  }
}

// A sum in 16 lanes, so that it vectorises without its order being left to the compiler.
class LaneSum {
 public:
  // Adds term(j) for j in [0, n).
  template <typename Term>
  void Add(int64_t n, Term&& term) {
    int64_t j = 0;
    for (; j + kLanes <= n; j += kLanes) {
      for (int64_t lane = 0; lane < kLanes; ++lane) lanes_[lane] += term(j + lane);
    }
    for (; j < n; ++j) lanes_[j % kLanes] += term(j);
  }

  double Total() const {
    double total = 0;
    for (double lane : lanes_) total += lane;
    return total;
  }

  static constexpr int64_t kLanes = 16;

 private:
  double lanes_[kLanes] = {};
};

}  // namespace tp::cpu
