// Sums over rows in chunks: each block leaves its chunk's sums, and a second kernel adds them up.
#pragma once

#include "backends/nccl/kernels/device_view.h"
#include "backends/nccl/kernels/kernels.h"
#include "backends/nccl/kernels/launch_kernel.cuh"
#include "backends/nccl/kernels/reduce.cuh"

namespace tp::nccl {

struct Chunks {
  int64_t count = 1;
  int64_t rows = 0;  // of one; the last may have fewer
};

// So that every multiprocessor of a large GPU has some, by the number of rows alone.
inline Chunks CutIntoChunks(int64_t rows) {
  constexpr int64_t kMost = 396;
  Chunks chunks;
  chunks.rows = std::max<int64_t>(1, (rows + kMost - 1) / kMost);
  chunks.count = std::max<int64_t>(1, (rows + chunks.rows - 1) / chunks.rows);
  return chunks;
}

inline ScratchSize ChunkScratch(const Chunks& chunks, int64_t columns, DType dtype) {
  return {std::max<int64_t>(1, chunks.count * columns) * SizeOf(AccumulatorOf(dtype)), 1};
}

// out[column] = the sum of partials[chunk][place of the column], in order: a warp a group of
// chunks, a lane a column. A chunk's partials are `stride` apart; column `vector v + k` is at
// k (columns / vector) + v.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    SumChunksKernel(const Accumulator<T>* partials, int64_t chunks, int64_t stride, int64_t columns,
                    int vector, T* out, int64_t out_stride) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  constexpr int kGroups = kThreads / kWarp;
  __shared__ A of_group[kGroups][kWarp + 1];
  const int lane = threadIdx.x % kWarp, group = threadIdx.x / kWarp;
  const int64_t place = static_cast<int64_t>(blockIdx.x) * kWarp + lane;
  A sum = 0;
  if (place < columns) {
#pragma unroll 4
    for (int64_t i = group; i < chunks; i += kGroups) sum += partials[i * stride + place];
  }
  of_group[group][lane] = sum;
  __syncthreads();
  if (group != 0 || place >= columns) return;
  sum = 0;
  for (int i = 0; i < kGroups; ++i) sum += of_group[i][lane];
  const int64_t vectors = columns / vector;
  out[(place % vectors * vector + place / vectors) * out_stride] = Round<T>(sum);
}

template <typename T>
cudaError_t SumChunks(const Accumulator<T>* partials, int64_t chunks, int64_t stride,
                      int64_t columns, int vector, const DeviceView& out, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>((columns + kWarp - 1) / kWarp);
  return LaunchKernel(SumChunksKernel<T>, blocks, kThreads, stream, partials, chunks, stride,
                      columns, vector, static_cast<T*>(out.data), out.Last().stride);
}

}  // namespace tp::nccl
