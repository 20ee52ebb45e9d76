// Sums over a block in a fixed tree, and blocks that meet.
#pragma once

#include "backends/nccl/kernels/element.cuh"
#include "backends/nccl/kernels/kernels.h"

namespace tp::nccl {

inline constexpr int kWarp = 32;

// The sum over the block, in a fixed tree; valid in thread 0.
template <typename A>
__device__ A SumOverBlock(A value) {
  __shared__ A of_warp[kThreads / kWarp];
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    value += __shfl_down_sync(0xffffffffu, value, offset);
  }
  if (threadIdx.x % kWarp == 0) of_warp[threadIdx.x / kWarp] = value;
  __syncthreads();
  A sum = 0;
  if (threadIdx.x == 0) {
    for (int i = 0; i < kThreads / kWarp; ++i) sum += of_warp[i];
  }
  __syncthreads();
  return sum;
}

// Whether this block is the last of `blocks` to come here, all of whose writes it then sees. The
// count says only who finishes; the order of the sum does not depend on it.
__device__ inline bool IsLastBlock(unsigned* counter, unsigned blocks) {
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    last = atomicAdd(counter, 1u) == blocks - 1;
    if (last) *counter = 0;
  }
  __syncthreads();
  __threadfence();
  return last;
}

}  // namespace tp::nccl
