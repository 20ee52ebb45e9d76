// The elementwise kernels and reductions of a Schedule, on strided matrices of any dtype.
//
// Each call enqueues its kernels on `stream` and returns the launch's error. Arithmetic is in float
// (double for fp64), differences and sums for the loss in double, rounded once at the store. Every
// sum has a fixed order that depends on shape and layout alone: the same bits every time, on every
// GPU. What goes element by element gives the bits of backends/cpu/kernels.h: each operation names
// its rounding, so that the compiler contracts none. Matrices without elements are fine.
//
// Operands that all lie packed in one order go in accesses of 16 bytes; others element by element.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "backends/nccl/kernels/device_view.h"
#include "backends/nccl/kernels/matrix.h"
#include "tp/core/sum_order.h"

namespace tp::nccl {

// out = a + b. `out` may be either.
cudaError_t Add(const DeviceMatrix& a, const DeviceMatrix& b, const DeviceMatrix& out,
                cudaStream_t stream);
// out = y + bias on each row; `bias` is 1 x columns. `out` may be `y`.
cudaError_t AddBias(const DeviceMatrix& y, const DeviceMatrix& bias, const DeviceMatrix& out,
                    cudaStream_t stream);
// out = bias on each row.
cudaError_t BroadcastBias(const DeviceMatrix& bias, const DeviceMatrix& out, cudaStream_t stream);
// out = 0.
cudaError_t Zero(const DeviceMatrix& out, cudaStream_t stream);
// out = in. The layouts may differ, the dtypes may not; nor may they overlap.
cudaError_t Copy(const DeviceMatrix& in, const DeviceMatrix& out, cudaStream_t stream);
cudaError_t Copy(const DeviceView& in, const DeviceView& out, cudaStream_t stream);
// dy = 2 scale (y - t).
cudaError_t MseGrad(const DeviceMatrix& y, const DeviceMatrix& t, double scale,
                    const DeviceMatrix& dy, cudaStream_t stream);
// w -= scale * gradient.
cudaError_t Sgd(const DeviceMatrix& w, const DeviceMatrix& gradient, double scale,
                cudaStream_t stream);
// Fills `count` elements of dtype with values in [-1, 1) that look random: for measuring.
cudaError_t FillNoise(void* data, DType dtype, int64_t count, cudaStream_t stream);

// Memory in which the blocks of a reduction meet. Zero at first, and each kernel leaves `counters`
// zero; kernels that share it run one after the other.
struct Scratch {
  void* partials = nullptr;
  unsigned* counters = nullptr;
};
struct ScratchSize {
  int64_t partial_bytes = 0;
  int64_t counters = 0;
};
ScratchSize MseLossScratch(const DeviceMatrix& y, SumOrder order);
ScratchSize SumRowsScratch(const DeviceMatrix& g);

// loss = scale * sum((y - t)^2), and, where `dy` is not null, dy = 2 scale (y - t). `loss` is one
// element, fp32 or fp64. In the invariant order the sum depends on the shape alone and not on the
// layout: a column is 16 sums, each of every 16th row, and columns follow one another. Those are
// the bits of backends/cpu/kernels.h.
cudaError_t MseLoss(const DeviceMatrix& y, const DeviceMatrix& t, double scale,
                    const DeviceMatrix& loss, const DeviceMatrix* dy, SumOrder order,
                    const Scratch& scratch, cudaStream_t stream);
// out = the sum of g's rows; `out` is 1 x columns.
cudaError_t SumRows(const DeviceMatrix& g, const DeviceMatrix& out, const Scratch& scratch,
                    cudaStream_t stream);

}  // namespace tp::nccl
