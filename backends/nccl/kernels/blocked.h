// The kernels of the invariant sum order (tp/core/sum_order.h): what no cut into ranks can change.
//
// An element's bits depend on the terms of its own sum and the blocks alone: not on the sizes of
// the matrices, how they are stored, or which GPU it is. Sums are in AccumulatorOf(dtype), one
// fused multiply-add a term, first to last within a block, blocks along the tree, rounded once at
// the store: the bits of backends/cpu/blocked_gemm.h on a processor that has such an instruction.
// Every operation names its rounding, and so the compiler has no say in it.
//
// In which order tensor cores add up is not known, and so products of theirs have other bits than
// the CPU's, and may have others on another kind of GPU; on one kind they depend on as little.
//
// Each call enqueues one kernel on `stream` and returns the launch's error. Any strides; outputs
// overlap nothing else. Matrices without elements are fine, and a sum without terms is zero.
#pragma once

#include <cuda_runtime_api.h>

#include <span>

#include "backends/nccl/kernels/matrix.h"
#include "tp/core/sum_order.h"
#include "tp/schedule/schedule.h"

namespace tp::nccl {

// c[i] = the share of sum.nodes[i] in a b, where a's columns and b's rows are the blocks of all
// nodes, in order. The matrices of c are alike but for where they are: of a's dtype or of its
// accumulator's type.
cudaError_t BlockedGemm(const DeviceMatrix& a, const DeviceMatrix& b, const BlockedSum& sum,
                        std::span<const DeviceMatrix> c, cudaStream_t stream);

// The same on tensor cores, which take bf16 and fp16.
constexpr bool TensorCoresTake(DType dtype) { return SizeOf(dtype) == 2; }
cudaError_t BlockedGemmOnTensorCores(const DeviceMatrix& a, const DeviceMatrix& b,
                                     const BlockedSum& sum, std::span<const DeviceMatrix> c,
                                     cudaStream_t stream);

// out[i] (1 x columns) = the share of sum.nodes[i] in the sum of g's rows; `out` as `c` above.
cudaError_t BlockedSumRows(const DeviceMatrix& g, const BlockedSum& sum,
                           std::span<const DeviceMatrix> out, cudaStream_t stream);

// out (1 x columns) = the columns of `nodes`, of its accumulator's type and a row each, added up
// along the tree.
cudaError_t SumBlocks(const DeviceMatrix& nodes, const BlockedSum& sum, const DeviceMatrix& out,
                      cudaStream_t stream);

}  // namespace tp::nccl
