// What the kernels share: element types, the vector they are moved in, and how a strided operation
// is laid over threads.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <type_traits>

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

// Moved in one access. Packs of 16 bytes are loaded and stored by words of 32 bits, and bf16 is
// widened so: elements of 16 bits the compiler would move about one by one, and here and there
// store one by one.
template <typename T, int kVector>
struct alignas(sizeof(T) * kVector) Pack {
  T at[kVector];
};

// The words of a pack of 16 bytes, in the four registers that it fills.
template <typename T, int kVector>
__device__ inline uint4 WordsOf(const Pack<T, kVector>& pack) {
  static_assert(sizeof(pack) == 16);
  uint4 words;
  memcpy(&words, &pack, 16);
  asm("" : "+r"(words.x), "+r"(words.y), "+r"(words.z), "+r"(words.w));
  return words;
}

// Has the compiler keep a pack of 16 bytes in four registers. It would widen its elements as soon
// as they are there, to as many registers as there are elements.
template <typename T, int kVector>
__device__ inline void KeepPacked(Pack<T, kVector>& pack) {
  if constexpr (sizeof(pack) == 16) {
    const uint4 words = WordsOf(pack);
    memcpy(&pack, &words, 16);
  }
}

// kVector packed elements in one access, which need not have come before what does not use them;
// zeros where they are not `there`.
template <typename T, int kVector>
__device__ inline Pack<T, kVector> LoadPack(const T* at, bool there = true) {
  Pack<T, kVector> pack = {};
  if constexpr (sizeof(pack) == 16) {
    uint4 words = {};
    if (there) words = *reinterpret_cast<const uint4*>(at);
    memcpy(&pack, &words, 16);
  } else {
    if (there) pack = *reinterpret_cast<const Pack<T, kVector>*>(at);
  }
  return pack;
}
// To global memory; written out, since the compiler makes several stores of it here and there.
template <typename T, int kVector>
__device__ inline void StorePack(void* data, int64_t at, const Pack<T, kVector>& pack) {
  T* const to = static_cast<T*>(data) + at;
  if constexpr (sizeof(pack) == 16) {
    const uint4 words = WordsOf(pack);
    asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(to)),
                 "r"(words.x), "r"(words.y), "r"(words.z), "r"(words.w)
                 : "memory");
  } else {
    *reinterpret_cast<Pack<T, kVector>*>(to) = pack;
  }
}

// A bf16 is the upper half of the fp32 that it is.
template <typename T, int kVector>
__device__ inline Pack<Accumulator<T>, kVector> Widen(const Pack<T, kVector>& pack) {
  Pack<Accumulator<T>, kVector> wide;
  if constexpr (std::is_same_v<T, __nv_bfloat16> && kVector % 2 == 0) {
    uint32_t words[kVector / 2];
    memcpy(words, &pack, sizeof(pack));
#pragma unroll
    for (int w = 0; w < kVector / 2; ++w) {
      wide.at[2 * w] = __uint_as_float(words[w] << 16);
      wide.at[2 * w + 1] = __uint_as_float(words[w] & 0xffff0000u);
    }
  } else {
#pragma unroll
    for (int k = 0; k < kVector; ++k) wide.at[k] = Widen(pack.at[k]);
  }
  return wide;
}

template <typename T, int kVector>
__device__ inline Pack<T, kVector> RoundPack(const Accumulator<T>* values) {
  Pack<T, kVector> pack;
  if constexpr (sizeof(T) == 2 && kVector % 2 == 0) {
    using Pair = std::conditional_t<std::is_same_v<T, __half>, __half2, __nv_bfloat162>;
    Pair pairs[kVector / 2];
#pragma unroll
    for (int w = 0; w < kVector / 2; ++w) {
      if constexpr (std::is_same_v<T, __half>) {
        pairs[w] = __floats2half2_rn(values[2 * w], values[2 * w + 1]);
      } else {
        pairs[w] = __floats2bfloat162_rn(values[2 * w], values[2 * w + 1]);
      }
    }
    memcpy(&pack, pairs, sizeof(pack));
  } else {
#pragma unroll
    for (int k = 0; k < kVector; ++k) pack.at[k] = Round<T>(values[k]);
  }
  return pack;
}

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
    const auto wide = Widen(LoadPack<T, kVector>(at + inner));
#pragma unroll
    for (int k = 0; k < kVector; ++k) values[k] = wide.at[k];
  } else {
#pragma unroll
    for (int k = 0; k < kVector; ++k) values[k] = Widen(at[(inner + k) * lane.inner_stride]);
  }
}

template <typename T, int kVector>
__device__ inline void StoreLane(const Lane& lane, int64_t outer, int64_t inner,
                                 const Accumulator<T>* values) {
  T* at = static_cast<T*>(lane.data) + outer * lane.outer_stride + inner * lane.inner_stride;
  StorePack(at, 0, RoundPack<T, kVector>(values));
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
