// Elementwise and reducing kernels on strided tensors: what a Schedule needs beside products.
//
// Each takes the views of a ScheduledOp with the memory of their buffers. Sums run in double over a
// fixed number of lanes in a fixed order, so equal inputs give equal bits; those of MseLossGrad,
// and every elementwise result, however the tensors lie in memory. Nothing is allocated.
#pragma once

#include <algorithm>
#include <cstdint>

#include "tp/core/dtype.h"
#include "tp/schedule/schedule.h"

namespace tp::cpu {

// A view of a matrix in memory: `data` is the address of its element (0, 0).
struct Matrix {
  void* data = nullptr;
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t row_stride = 0;  // in elements
  int64_t column_stride = 1;
};

// A view in memory: `data` is the address of its first element.
struct Tensor {
  Tensor() = default;
  Tensor(void* address, const Dims& dimensions) : data(address), dims(dimensions) {}
  Tensor(const Matrix& m)  // NOLINT: implicit, since a matrix is one
      : data(m.data), dims{{m.rows, m.row_stride}, {m.columns, m.column_stride}} {}

  bool empty() const {
    return std::any_of(dims.begin(), dims.end(), [](const Dim& dim) { return dim.size == 0; });
  }
  // Of its last two dimensions; a vector is one row, a scalar 1 x 1.
  Matrix matrix() const {
    const int rank = dims.size();
    if (rank == 0) return {data, 1, 1, 1, 1};
    const Dim& column = dims[rank - 1];
    if (rank == 1) return {data, 1, column.size, column.size * column.stride, column.stride};
    return {data, dims[rank - 2].size, column.size, dims[rank - 2].stride, column.stride};
  }

  void* data = nullptr;
  Dims dims;
};

// out = a + b. `out` may be either.
void Add(DType dtype, const Tensor& a, const Tensor& b, const Tensor& out);

// out = y + b on each row; b is 1 x columns. `out` may be y.
void AddBias(DType dtype, const Matrix& y, const Matrix& b, const Matrix& out);

// *loss = scale * sum((y - t)^2), as AccumulatorOf(dtype); dy = 2 * scale * (y - t). Either may be
// left out (null). Of more than two dimensions, the sum runs over the matrices of the last two, one
// after the other.
void MseLossGrad(DType dtype, double scale, const Tensor& y, const Tensor& t, void* loss,
                 const Tensor* dy);

// out (1 x columns) = the sum over g's rows.
void SumRows(DType dtype, const Matrix& g, const Matrix& out);

// w -= rate * gradient.
void Sgd(DType dtype, double rate, const Tensor& w, const Tensor& gradient);

// out = in.
void Copy(DType dtype, const Tensor& in, const Tensor& out);

}  // namespace tp::cpu
