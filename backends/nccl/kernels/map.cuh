// An operation element by element, out = f(a, b), over strided matrices: what the elementwise
// kernels are written with.
#pragma once

#include "backends/nccl/kernels/element.cuh"
#include "backends/nccl/kernels/launch_kernel.cuh"

namespace tp::nccl {

inline constexpr int64_t kMostBlocks = 132 * 16;

// out = f(a, b), element by element; b is not read where it has no data.
template <typename T, int kVector, typename F>
__global__ void __launch_bounds__(kThreads) MapKernel(Grid grid, F f) {
  AwaitEarlierKernels();
  ForEachVector<kVector>(grid.outer, grid.inner, [&](int64_t outer, int64_t inner) {
    Accumulator<T> a[kVector], b[kVector] = {};
    LoadLane<T, kVector>(grid.lanes[0], outer, inner, a);
    if (grid.lanes[1].data != nullptr) LoadLane<T, kVector>(grid.lanes[1], outer, inner, b);
#pragma unroll
    for (int k = 0; k < kVector; ++k) a[k] = f(a[k], b[k]);
    StoreLane<T, kVector>(grid.lanes[2], outer, inner, a);
  });
}

template <typename T, typename F>
cudaError_t LaunchMap(const Grid& grid, cudaStream_t stream, const F& f) {
  constexpr int kVector = 16 / sizeof(T);
  const int64_t elements = grid.outer * grid.inner;
  if (elements == 0) return cudaSuccess;
  if (grid.vectorised) {
    const unsigned blocks = BlocksFor(elements / kVector, kMostBlocks);
    return LaunchKernel(MapKernel<T, kVector, F>, blocks, kThreads, stream, grid, f);
  }
  return LaunchKernel(MapKernel<T, 1, F>, BlocksFor(elements, kMostBlocks), kThreads, stream, grid,
                      f);
}

struct Sum {
  template <typename A>
  __device__ A operator()(A a, A b) const {
    return a + b;
  }
};

struct First {
  template <typename A>
  __device__ A operator()(A a, A) const {
    return a;
  }
};

// `in` and `out` alone, for an f that looks at its first operand.
inline Grid WithoutSecond(const DeviceMatrix& in, const DeviceMatrix& out) {
  Grid grid = MakeGrid({in, out});
  grid.lanes[2] = grid.lanes[1];
  grid.lanes[1] = {};
  return grid;
}

}  // namespace tp::nccl
