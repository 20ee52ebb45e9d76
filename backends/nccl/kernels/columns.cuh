// Sums over rows in chunks: each block leaves its chunk's sums, and a second kernel adds them up.
#pragma once

#include <array>

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

// Where sums of columns go.
template <typename T, int kOuts>
struct ColumnSums {
  T* data[kOuts];
  int64_t strides[kOuts];
};

inline constexpr int kSumThreads = 512;

// out[column] = the sum of partials[chunk][place of the column], in order: a warp a group of
// chunks, a lane a column. A chunk's partials are those of each out, one behind the other; column
// `vector v + k` of an out is at k (columns / vector) + v.
template <typename T, int kOuts>
__global__ void __launch_bounds__(kSumThreads)
    SumChunksKernel(const Accumulator<T>* partials, int64_t chunks, int64_t columns, int vector,
                    const __grid_constant__ ColumnSums<T, kOuts> sums) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  constexpr int kGroups = kSumThreads / kWarp;
  __shared__ A of_group[kGroups][kWarp + 1];
  const int lane = threadIdx.x % kWarp, group = threadIdx.x / kWarp;
  const int64_t place = static_cast<int64_t>(blockIdx.x) * kWarp + lane;
  const A* const mine = partials + blockIdx.y * columns + place;
  A sum = 0;
  if (place < columns) {
#pragma unroll 8
    for (int64_t i = group; i < chunks; i += kGroups) sum += mine[i * kOuts * columns];
  }
  of_group[group][lane] = sum;
  __syncthreads();
  if (group != 0 || place >= columns) return;
  sum = 0;
  for (int i = 0; i < kGroups; ++i) sum += of_group[i][lane];
  const int64_t vectors = columns / vector;
  const int64_t column = place % vectors * vector + place / vectors;
  sums.data[blockIdx.y][column * sums.strides[blockIdx.y]] = Round<T>(sum);
}

template <typename T, int kOuts>
cudaError_t SumChunks(const void* partials, int64_t chunks, int64_t columns, int vector,
                      const std::array<DeviceView, kOuts>& outs, cudaStream_t stream) {
  const dim3 blocks(static_cast<unsigned>((columns + kWarp - 1) / kWarp), kOuts);
  ColumnSums<T, kOuts> sums;
  for (int i = 0; i < kOuts; ++i) {
    sums.data[i] = static_cast<T*>(outs[i].data);
    sums.strides[i] = outs[i].Last().stride;
  }
  return LaunchKernel(SumChunksKernel<T, kOuts>, blocks, kSumThreads, stream,
                      static_cast<const Accumulator<T>*>(partials), chunks, columns, vector, sums);
}

}  // namespace tp::nccl
