#include "backends/nccl/kernels/looped_gemm.h"
#include "backends/nccl/kernels/walk.cuh"

namespace tp::nccl {
namespace {

constexpr int kSide = 16;             // threads along a side of a tile
constexpr int kEach = 4;              // rows and columns of c a thread
constexpr int kTile = kSide * kEach;  // of c
constexpr int kDepth = 16;            // terms at a time

// A matrix of each operand; strides are those of its two letters.
struct Sides {
  void* data = nullptr;
  int64_t rows = 0, columns = 0;  // strides
};

struct Loops {
  Places<4> kept;    // lanes: a, b, c, added
  Places<2> summed;  // lanes: a, b
  int64_t m, n, k;
  int64_t across;  // tiles of n
  Sides a, b, c, added;
};

// A tile of kTile lines of kDepth terms. Threads run along the terms where these are neighbours in
// memory, else along the lines.
template <typename T>
__device__ inline void LoadTile(const T* x, int64_t line_stride, int64_t term_stride, int64_t lines,
                                int64_t terms, Accumulator<T> (&tile)[kDepth][kTile + 1]) {
  for (int i = threadIdx.x; i < kTile * kDepth; i += kThreads) {
    const int line = term_stride == 1 ? i / kDepth : i % kTile;
    const int term = term_stride == 1 ? i % kDepth : i / kTile;
    tile[term][line] = line < lines && term < terms
                           ? Widen(x[line * line_stride + term * term_stride])
                           : Accumulator<T>(0);
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads) LoopedGemmKernel(const __grid_constant__ Loops loops) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  __shared__ A of_a[kDepth][kTile + 1], of_b[kDepth][kTile + 1];
  const int64_t tiles = (loops.m + kTile - 1) / kTile * loops.across;
  const int64_t tile = blockIdx.x % tiles;
  const int64_t row = tile / loops.across * kTile, column = tile % loops.across * kTile;
  int64_t at[4], of[2];
  loops.kept.Find(blockIdx.x / tiles, at);
  const int down = threadIdx.x / kSide, right = threadIdx.x % kSide;
  A sums[kEach][kEach] = {};
  for (int64_t loop = 0; loop < loops.summed.count; ++loop) {
    loops.summed.Find(loop, of);
    const T* a = static_cast<const T*>(loops.a.data) + at[0] + of[0] + row * loops.a.rows;
    const T* b = static_cast<const T*>(loops.b.data) + at[1] + of[1] + column * loops.b.columns;
    for (int64_t k = 0; k < loops.k; k += kDepth) {
      LoadTile(a + k * loops.a.columns, loops.a.rows, loops.a.columns, loops.m - row, loops.k - k,
               of_a);
      LoadTile(b + k * loops.b.rows, loops.b.columns, loops.b.rows, loops.n - column, loops.k - k,
               of_b);
      __syncthreads();
#pragma unroll
      for (int term = 0; term < kDepth; ++term) {
        A left[kEach], top[kEach];
#pragma unroll
        for (int i = 0; i < kEach; ++i) left[i] = of_a[term][down + i * kSide];
#pragma unroll
        for (int j = 0; j < kEach; ++j) top[j] = of_b[term][right + j * kSide];
#pragma unroll
        for (int i = 0; i < kEach; ++i) {
#pragma unroll
          for (int j = 0; j < kEach; ++j) sums[i][j] += left[i] * top[j];
        }
      }
      __syncthreads();
    }
  }
  T* c = static_cast<T*>(loops.c.data) + at[2];
  const T* added = static_cast<const T*>(loops.added.data) + at[3];
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      const int64_t y = row + down + i * kSide, x = column + right + j * kSide;
      if (y >= loops.m || x >= loops.n) continue;
      A sum = sums[i][j];
      if (loops.added.data != nullptr) {
        sum += Widen(added[y * loops.added.rows + x * loops.added.columns]);
      }
      c[y * loops.c.rows + x * loops.c.columns] = Round<T>(sum);
    }
  }
}

Sides SidesOf(const DeviceView& view) {
  const int rank = view.dims.size();
  return {view.data, view.dims[rank - 2].stride, view.dims[rank - 1].stride};
}

}  // namespace

cudaError_t LoopedGemm(const LoopedProduct& product, cudaStream_t stream) {
  const auto& [a, b, c, added] = product;
  const int dims = c.dims.size() - 2;
  Loops loops = {};
  for (int d = 0; d < dims; ++d) {
    const int64_t size = a.dims[d].size;
    if (c.dims[d].stride == 0) {
      loops.summed.PushBack(size, {a.dims[d].stride, b.dims[d].stride});
    } else {
      loops.kept.PushBack(size, {a.dims[d].stride, b.dims[d].stride, c.dims[d].stride,
                                 added ? added->dims[d].stride : 0});
    }
  }
  loops.m = c.dims[dims].size;
  loops.n = c.dims[dims + 1].size;
  loops.k = a.dims[dims + 1].size;
  loops.across = (loops.n + kTile - 1) / kTile;
  loops.a = SidesOf(a);
  loops.b = SidesOf(b);
  loops.c = SidesOf(c);
  if (added) {
    const bool whole = added->dims.size() == c.dims.size();
    loops.added = whole ? SidesOf(*added) : Sides{added->data, 0, added->Last().stride};
  }
  const int64_t blocks = (loops.m + kTile - 1) / kTile * loops.across * loops.kept.count;
  if (blocks == 0) return cudaSuccess;
  return Dispatch(c.dtype, [&](auto type) {
    return LaunchKernel(LoopedGemmKernel<decltype(type)>, static_cast<unsigned>(blocks), kThreads,
                        stream, loops);
  });
}

}  // namespace tp::nccl
