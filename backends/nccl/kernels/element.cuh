// What the kernels share: element types, the vector they are moved in, and how a strided operation
// is laid over threads.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>

#include "backends/nccl/kernels/matrix.h"

namespace tp::nccl {

constexpr int kThreads = 256;

template <typename T>
struct AccumulatorType {
  using type = float;
};
template <>
struct AccumulatorType<double> {
  using type = double;
};
template <typename T>
using Accumulator = typename AccumulatorType<T>::type;

__device__ inline float Widen(float x) { return x; }
__device__ inline double Widen(double x) { return x; }
__device__ inline float Widen(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline float Widen(__half x) { return __half2float(x); }

// Rounds to nearest, ties to even.
template <typename T>
__device__ T Round(Accumulator<T> x);
template <>
__device__ inline float Round<float>(float x) {
  return x;
}
template <>
__device__ inline double Round<double>(double x) {
  return x;
}
template <>
__device__ inline __nv_bfloat16 Round<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}
template <>
__device__ inline __half Round<__half>(float x) {
  return __float2half_rn(x);
}

// Moved in one access.
template <typename T, int kVector>
struct alignas(sizeof(T) * kVector) Pack {
  T at[kVector];
};

// Calls f with a value of dtype's C++ type.
template <typename F>
auto Dispatch(DType dtype, const F& f) {
  switch (dtype) {
    case DType::kFloat64:
      return f(double{});
    case DType::kFloat32:
    case DType::kInt32:  // which is moved, and never computed with
      return f(float{});
    case DType::kBFloat16:
      return f(__nv_bfloat16{});
    case DType::kFloat16:
    default:
      return f(__half{});
  }
}

// An operand as threads see it: `inner` runs fastest over threads, `outer` slowest.
struct Lane {
  void* data = nullptr;
  int64_t outer_stride = 0;
  int64_t inner_stride = 1;
};

// outer * inner elements over up to three operands, the last of which is written.
struct Grid {
  int64_t outer = 0;
  int64_t inner = 0;
  Lane lanes[3];
  bool vectorised = false;  // every lane can be moved 16 bytes at a time, or is one value a row
};

inline bool RunsDownRows(const DeviceMatrix& m) {
  return m.row_stride == 1 && m.rows > 1 && (m.column_stride != 1 || m.columns == 1);
}

inline bool CanVectorise(const Grid& grid, int64_t width) {
  const int64_t vector = 16 / width;
  if (grid.inner % vector != 0) return false;
  for (const Lane& lane : grid.lanes) {
    if (lane.data == nullptr) continue;
    if (lane.inner_stride == 0) continue;
    if (lane.inner_stride != 1 || reinterpret_cast<uintptr_t>(lane.data) % 16 != 0) return false;
    if (grid.outer > 1 && lane.outer_stride % vector != 0) return false;
  }
  return true;
}

// `matrices` have one shape; one with a stride of 0 is broadcast. Threads follow the last one's
// layout, and what is packed alike everywhere becomes one long row.
inline Grid MakeGrid(std::initializer_list<DeviceMatrix> matrices) {
  const DeviceMatrix& last = *(matrices.end() - 1);
  const bool down = RunsDownRows(last);
  Grid grid;
  grid.outer = down ? last.columns : last.rows;
  grid.inner = down ? last.rows : last.columns;
  bool packed = true;
  int i = 0;
  for (const DeviceMatrix& m : matrices) {
    Lane& lane = grid.lanes[i++];
    lane = {m.data, down ? m.column_stride : m.row_stride, down ? m.row_stride : m.column_stride};
    if (grid.inner == 1 && lane.inner_stride != 0) lane.inner_stride = 1;
    packed = packed && lane.inner_stride == 1 && lane.outer_stride == grid.inner;
  }
  if (packed && grid.outer > 1) {
    grid.inner *= grid.outer;
    grid.outer = 1;
  }
  grid.vectorised = CanVectorise(grid, SizeOf(last.dtype));
  return grid;
}

// Blocks for `items`, each a thread's, and never more than fill a large GPU a few times over.
inline unsigned BlocksFor(int64_t items, int64_t most) {
  return static_cast<unsigned>(std::clamp<int64_t>((items + kThreads - 1) / kThreads, 1, most));
}

// kVector elements of a lane from (outer, inner), widened.
template <typename T, int kVector>
__device__ inline void LoadLane(const Lane& lane, int64_t outer, int64_t inner,
                                Accumulator<T>* values) {
  const T* at = static_cast<const T*>(lane.data) + outer * lane.outer_stride;
  if (kVector > 1 && lane.inner_stride == 1) {
    const auto pack = *reinterpret_cast<const Pack<T, kVector>*>(at + inner);
#pragma unroll
    for (int k = 0; k < kVector; ++k) values[k] = Widen(pack.at[k]);
  } else {
#pragma unroll
    for (int k = 0; k < kVector; ++k) values[k] = Widen(at[(inner + k) * lane.inner_stride]);
  }
}

template <typename T, int kVector>
__device__ inline void StoreLane(const Lane& lane, int64_t outer, int64_t inner,
                                 const Accumulator<T>* values) {
  T* at = static_cast<T*>(lane.data) + outer * lane.outer_stride + inner * lane.inner_stride;
  Pack<T, kVector> pack;
#pragma unroll
  for (int k = 0; k < kVector; ++k) pack.at[k] = Round<T>(values[k]);
  *reinterpret_cast<Pack<T, kVector>*>(at) = pack;
}

// Calls body(outer, inner) for this thread's vectors. 32-bit division where it suffices.
template <int kVector, typename Body>
__device__ inline void ForEachVector(int64_t outer, int64_t inner, const Body& body) {
  const int64_t row = inner / kVector;
  const int64_t total = outer * row;
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (outer == 1) {
    for (int64_t i = first; i < total; i += step) body(0, i * kVector);
  } else if (total < (int64_t{1} << 31)) {
    const auto divisor = static_cast<uint32_t>(row);
    for (int64_t i = first; i < total; i += step) {
      const uint32_t o = static_cast<uint32_t>(i) / divisor;
      body(o, (static_cast<uint32_t>(i) - o * divisor) * int64_t{kVector});
    }
  } else {
    for (int64_t i = first; i < total; i += step) body(i / row, i % row * kVector);
  }
}

}  // namespace tp::nccl
