// Ops that follow one another on a stream, in few launches, with the bits that each alone gives.
//
// They are enqueued on `stream` and wait for nothing; the calls are free again at return. Which ops
// may go together: backends/nccl/execution/launch_groups.h.
#pragma once

#include <cuda_runtime_api.h>

#include <span>
#include <vector>

#include "backends/nccl/kernels/kernel.h"

namespace tp::nccl {

// adamw or adamw_master, none of which touches what another one writes.
cudaError_t EnqueueUpdates(std::span<const KernelCall> calls, cudaStream_t stream);

// square_sum, and adds of two scalars of the sums' type, in order. No square reads what one of them
// writes. The scratch memory is the first call's.
cudaError_t EnqueueSquares(std::span<const KernelCall> calls, cudaStream_t stream);
ScratchSize SquaresScratch(std::span<const KernelCall> calls);

// [sum_rows], add, rms_norm; or [sum_rows], rms_norm_grad, [add]: each reads what the one before it
// writes, and its first output is written where `written` says so, by call. The sums are of 2 to 8
// rows. All tensors lie alike, packed, in one type of bf16, fp16 and fp32; lines are multiples of
// 16 bytes, and of 16 KiB at most. The scratch memory is that of the gradient's call.
cudaError_t EnqueueNorm(std::span<const KernelCall> calls, const std::vector<bool>& written,
                        cudaStream_t stream);

}  // namespace tp::nccl
