// Ops that follow one another on a stream, in few launches, with the bits that each alone gives.
//
// They are enqueued on `stream` and wait for nothing; the calls are free again at return. Which ops
// may go together: backends/nccl/execution/launch_groups.h.
#pragma once

#include <cuda_runtime_api.h>

#include <span>

#include "backends/nccl/kernels/kernel.h"

namespace tp::nccl {

// adamw or adamw_master, none of which touches what another one writes.
cudaError_t EnqueueUpdates(std::span<const KernelCall> calls, cudaStream_t stream);

// square_sum, and adds of two scalars of the sums' type, in order. No square reads what one of them
// writes. The scratch memory is the first call's.
cudaError_t EnqueueSquares(std::span<const KernelCall> calls, cudaStream_t stream);
ScratchSize SquaresScratch(std::span<const KernelCall> calls);

}  // namespace tp::nccl
