// Like-shaped views of any number of dimensions, laid over threads; and operations element by
// element on them.
#pragma once

#include <array>

#include "backends/nccl/kernels/device_view.h"
#include "backends/nccl/kernels/element.cuh"
#include "backends/nccl/kernels/launch_kernel.cuh"

namespace tp::nccl {

// A block has no more than a vector a thread, unless there were more blocks than this: the more
// there are, the shorter is the time in which the last ones leave multiprocessors idle.
inline constexpr int64_t kMostWalkBlocks = 1 << 20;

// The places of like-shaped views, counted in one number: the first dimension is the slowest.
template <int kLanes>
struct Places {
  int64_t count = 1;
  int dims = 0;
  int64_t sizes[kMostViewDims] = {};
  int64_t strides[kMostViewDims][kLanes] = {};

  void PushBack(int64_t size, const std::array<int64_t, kLanes>& steps) {
    sizes[dims] = size;
    for (int l = 0; l < kLanes; ++l) strides[dims][l] = steps[l];
    ++dims;
    count *= size;
  }

  // Where place number `place` is in each view. 32-bit division where it suffices. Most often there
  // is one dimension: the loop is not unrolled, and goes round no time.
  __device__ void Find(int64_t place, int64_t (&at)[kLanes]) const {
#pragma unroll
    for (int l = 0; l < kLanes; ++l) at[l] = 0;
    const bool small = count < (int64_t{1} << 31);
#pragma unroll 1
    for (int d = dims - 1; d > 0; --d) {
      const int64_t rest =
          small
              ? static_cast<int64_t>(static_cast<uint32_t>(place) / static_cast<uint32_t>(sizes[d]))
              : place / sizes[d];
#pragma unroll
      for (int l = 0; l < kLanes; ++l) at[l] += (place - rest * sizes[d]) * strides[d][l];
      place = rest;
    }
#pragma unroll
    for (int l = 0; l < kLanes; ++l) at[l] += place * strides[0][l];
  }
};

// Views whose dimensions are as few as they can be, in the order of the last one's memory.
template <int kLanes>
std::array<Dims, kLanes> Merged(const std::array<DeviceView, kLanes>& views) {
  std::array<Dims, kLanes> dims;
  std::array<Dims*, kLanes> each;
  for (int l = 0; l < kLanes; ++l) {
    dims[l] = views[l].dims;
    each[kLanes - 1 - l] = &dims[l];
  }
  MergeDims(each);
  return dims;
}

template <int kLanes>
std::array<int64_t, kLanes> StridesOf(const std::array<Dims, kLanes>& dims, int d) {
  std::array<int64_t, kLanes> strides;
  for (int l = 0; l < kLanes; ++l) strides[l] = dims[l][d].stride;
  return strides;
}

template <int kLanes>
Places<kLanes> MakePlaces(const std::array<DeviceView, kLanes>& views) {
  const std::array<Dims, kLanes> dims = Merged<kLanes>(views);
  Places<kLanes> places;
  for (int d = 0; d < dims[0].size(); ++d)
    places.PushBack(dims[0][d].size, StridesOf<kLanes>(dims, d));
  return places;
}

// Whether a view's lines, which begin at `places` and run with `stride`, can be moved 16 bytes at a
// time.
template <int kLanes>
bool LinesAreEven(const Places<kLanes>& places, int lane, const DeviceView& view, int64_t stride,
                  int64_t length) {
  const int64_t vector = 16 / SizeOf(view.dtype);
  if (stride != 1 || length % vector != 0) return false;
  if (reinterpret_cast<uintptr_t>(view.data) % 16 != 0) return false;
  for (int d = 0; d < places.dims; ++d) {
    if (places.sizes[d] > 1 && places.strides[d][lane] % vector != 0) return false;
  }
  return true;
}

// Lines of elements, one behind the other; threads run along them.
template <int kLanes>
struct Walk {
  Places<kLanes> lines;
  int64_t length = 1;  // of a line
  int64_t strides[kLanes] = {};
  void* data[kLanes] = {};
  bool even = false;  // every lane can be moved 16 bytes at a time, or is one value a line

  int64_t size() const { return lines.count * length; }
};

template <int kLanes>
Walk<kLanes> MakeWalk(const std::array<DeviceView, kLanes>& views) {
  const std::array<Dims, kLanes> dims = Merged<kLanes>(views);
  Walk<kLanes> walk;
  const int last = dims[0].size() - 1;
  for (int d = 0; d < last; ++d) walk.lines.PushBack(dims[0][d].size, StridesOf<kLanes>(dims, d));
  if (last >= 0) walk.length = dims[0][last].size;
  walk.even = true;
  for (int l = 0; l < kLanes; ++l) {
    walk.data[l] = views[l].data;
    walk.strides[l] = last >= 0 ? dims[l][last].stride : 1;
    walk.even = walk.even && (walk.strides[l] == 0 ||
                              LinesAreEven(walk.lines, l, views[l], walk.strides[l], walk.length));
  }
  return walk;
}

// kVector elements from `at` on, widened; and back, to global memory. A vector lies packed, or is
// one value.
template <typename T, int kVector>
__device__ inline void LoadVector(const T* at, int64_t stride, Accumulator<T>* values) {
  if (kVector > 1 && stride == 1) {
    const auto wide = Widen(LoadPack<T, kVector>(at));
#pragma unroll
    for (int k = 0; k < kVector; ++k) values[k] = wide.at[k];
  } else {
#pragma unroll
    for (int k = 0; k < kVector; ++k) values[k] = Widen(at[k * stride]);
  }
}
template <typename T, int kVector>
__device__ inline void StoreVector(T* at, const Accumulator<T>* values) {
  StorePack(at, 0, RoundPack<T, kVector>(values));
}

// kVector numbers of a type that is wider than the one which 16 bytes hold as many of.
template <typename A, int kVector>
__device__ inline void LoadWide(const A* at, int64_t stride, A* values) {
  constexpr int kPiece = kVector < 16 / sizeof(A) ? kVector : 16 / sizeof(A);
#pragma unroll
  for (int k = 0; k < kVector; k += kPiece) {
    LoadVector<A, kPiece>(at + k * stride, stride, values + k);
  }
}
template <typename A, int kVector>
__device__ inline void StoreWide(A* at, const A* values) {
  constexpr int kPiece = kVector < 16 / sizeof(A) ? kVector : 16 / sizeof(A);
#pragma unroll
  for (int k = 0; k < kVector; k += kPiece) StoreVector<A, kPiece>(at + k, values + k);
}

// f(in, out) for each element: f reads arrays of kIn numbers and writes ones of kOut.
template <typename T, int kVector, int kIn, int kOut, typename F>
__global__ void __launch_bounds__(kThreads)
    WalkKernel(const __grid_constant__ Walk<kIn + kOut> walk, F f) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  ForEachVector<kVector>(walk.lines.count, walk.length, [&](int64_t line, int64_t j) {
    int64_t at[kIn + kOut];
    walk.lines.Find(line, at);
    A in[kIn][kVector], out[kOut][kVector];
#pragma unroll
    for (int l = 0; l < kIn; ++l) {
      LoadVector<T, kVector>(static_cast<const T*>(walk.data[l]) + at[l] + j * walk.strides[l],
                             walk.strides[l], in[l]);
    }
#pragma unroll
    for (int k = 0; k < kVector; ++k) {
      A x[kIn], y[kOut];
#pragma unroll
      for (int l = 0; l < kIn; ++l) x[l] = in[l][k];
      f(x, y);
#pragma unroll
      for (int l = 0; l < kOut; ++l) out[l][k] = y[l];
    }
#pragma unroll
    for (int l = 0; l < kOut; ++l) {
      StoreVector<T, kVector>(
          static_cast<T*>(walk.data[kIn + l]) + at[kIn + l] + j * walk.strides[kIn + l], out[l]);
    }
  });
}

// Enqueues f over views of one shape and type; outputs may be inputs.
template <int kIn, int kOut, typename T, typename F>
cudaError_t LaunchWalk(const std::array<DeviceView, kIn + kOut>& views, cudaStream_t stream,
                       const F& f) {
  const Walk<kIn + kOut> walk = MakeWalk<kIn + kOut>(views);
  if (walk.size() == 0) return cudaSuccess;
  constexpr int kVector = 16 / sizeof(T);
  if (walk.even) {
    return LaunchKernel(WalkKernel<T, kVector, kIn, kOut, F>,
                        BlocksFor(walk.size() / kVector, kMostWalkBlocks), kThreads, stream, walk,
                        f);
  }
  return LaunchKernel(WalkKernel<T, 1, kIn, kOut, F>, BlocksFor(walk.size(), kMostWalkBlocks),
                      kThreads, stream, walk, f);
}

}  // namespace tp::nccl
