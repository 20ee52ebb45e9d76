// Elementwise and reducing kernels on strided matrices: what a Schedule needs beside products.
//
// Each takes the views of a ScheduledOp with the memory of their buffers. Sums run in double over a
// fixed number of lanes in a fixed order, so equal inputs give equal bits; those of MseLossGrad,
// and every elementwise result, however the matrices lie in memory. Nothing is allocated.
#pragma once

#include "tp/core/dtype.h"
#include "tp/schedule/schedule.h"

namespace tp::cpu {

// A view in memory: `data` is the address of its element (0, 0).
struct Matrix {
  void* data = nullptr;
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t row_stride = 0;  // in elements
  int64_t column_stride = 1;
};

// out = a + b. `out` may be either.
void Add(DType dtype, const Matrix& a, const Matrix& b, const Matrix& out);

// out = y + b on each row; b is 1 x columns. `out` may be y.
void AddBias(DType dtype, const Matrix& y, const Matrix& b, const Matrix& out);

// *loss = scale * sum((y - t)^2), as AccumulatorOf(dtype); dy = 2 * scale * (y - t). Either may be
// left out (null).
void MseLossGrad(DType dtype, double scale, const Matrix& y, const Matrix& t, void* loss,
                 const Matrix* dy);

// out (1 x columns) = the sum over g's rows.
void SumRows(DType dtype, const Matrix& g, const Matrix& out);

// w -= rate * gradient.
void Sgd(DType dtype, double rate, const Matrix& w, const Matrix& gradient);

// out = in.
void Copy(DType dtype, const Matrix& in, const Matrix& out);

}  // namespace tp::cpu
