// Loops over the lines of strided tensors, and sums in a fixed order: what the elementwise and
// reducing kernels are written with.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <utility>

#include "backends/cpu/kernels.h"
#include "tp/schedule/view.h"

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

// Like-shaped tensors, walked line by line along the direction in which the first is nearest in
// memory; dimensions that are one in all of them are one here.
template <size_t kTensors>
class Lines {
 public:
  explicit Lines(const std::array<const Tensor*, kTensors>& tensors) {
    std::array<Dims, kTensors> dims;
    std::array<Dims*, kTensors> each;
    for (size_t t = 0; t < kTensors; ++t) {
      dims[t] = tensors[t]->dims;
      each[t] = &dims[t];
    }
    MergeDims(each);
    const int rank = dims[0].size();
    for (int d = 0; d + 1 < rank; ++d) {
      sizes_[outer_] = dims[0][d].size;
      for (size_t t = 0; t < kTensors; ++t) steps_[outer_][t] = dims[t][d].stride;
      ++outer_;
    }
    length = rank == 0 ? 1 : dims[0][rank - 1].size;
    for (size_t t = 0; t < kTensors; ++t) strides[t] = rank == 0 ? 1 : dims[t][rank - 1].stride;
  }

  // Calls body(offsets of the line's first elements) for every line.
  template <typename Body>
  void ForEach(const Body& body) const {
    std::array<int64_t, kTensors> at = {};
    std::array<int64_t, kMostViewDims> index = {};
    while (true) {
      body(at);
      int d = outer_;
      while (d-- > 0) {
        const bool more = ++index[d] < sizes_[d];
        const int64_t moves = more ? 1 : 1 - sizes_[d];
        for (size_t t = 0; t < kTensors; ++t) at[t] += moves * steps_[d][t];
        if (more) break;
        index[d] = 0;
      }
      if (d < 0) return;
    }
  }

  int64_t length;                         // of a line
  std::array<int64_t, kTensors> strides;  // along it

 private:
  int outer_ = 0;
  std::array<int64_t, kMostViewDims> sizes_;
  std::array<std::array<int64_t, kTensors>, kMostViewDims> steps_;
};

// The same for tensors of any number of dimensions, in lines as long as they can be.
template <typename T, typename Body, typename... Rest>
void ForEachRow(Body&& body, const Tensor& first, const Rest&... rest) {
  if (first.empty()) return;
  const Lines<1 + sizeof...(rest)> lines({&first, &rest...});
  const auto on = [&]<size_t... i>(std::index_sequence<i...>) {
    const std::array<T*, 1 + sizeof...(rest)> data = {static_cast<T*>(first.data),
                                                      static_cast<T*>(rest.data)...};
    if (((lines.strides[i] == 1) && ...)) {
      lines.ForEach([&](const auto& at) { body(lines.length, PackedRow<T>{data[i] + at[i]}...); });
    } else {
      lines.ForEach([&](const auto& at) {
        body(lines.length, Row<T>{data[i] + at[i], lines.strides[i]}...);
      });
    }
  };
  on(std::make_index_sequence<1 + sizeof...(rest)>());
}

// Calls body(matrix of each tensor) for every matrix of the last two dimensions of the like-shaped
// `first`, `rest`, in their own order.
template <typename T, typename Body, typename... Rest>
void ForEachMatrix(Body&& body, const Tensor& first, const Rest&... rest) {
  View outer;  // of the matrices' first elements
  for (int d = 0; d + 2 < first.dims.size(); ++d) outer.dims.push_back(first.dims[d]);
  ForEachElement(outer, [&](const Index& index, int64_t) {
    const auto at = [&](const Tensor& tensor) {
      Matrix matrix = tensor.matrix();
      for (int d = 0; d < outer.rank(); ++d) {
        matrix.data = static_cast<T*>(matrix.data) + index[d] * tensor.dims[d].stride;
      }
      return matrix;
    };
    body(at(first), at(rest)...);
  });
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
