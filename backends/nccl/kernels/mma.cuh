// Products of small matrices on tensor cores, of operands in shared memory.
//
// Tiles are lines of kD elements of 16 bits, in chunks of 16 bytes; chunk c of line i is at place
// c ^ (i % 8), so that eight lines' chunks lie in different banks. Source: mma.m16n8k16 and
// ldmatrix in the PTX ISA, which says which lane has which elements.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include "backends/nccl/kernels/async_copy.cuh"
#include "backends/nccl/kernels/element.cuh"

namespace tp::nccl {

// Of a 16 x 16 matrix; and of two 16 x 8 ones, side by side: {0, 1} and {2, 3}.
using Fragment = uint32_t[4];

template <int kD, typename T>
__device__ inline T* ChunkAt(T* tile, int line, int chunk) {
  return tile + line * kD + (chunk ^ (line & 7)) * 8;
}

__device__ inline void StoreChunk(uint32_t to, uint4 chunk) {
  asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(chunk.x), "r"(chunk.y),
               "r"(chunk.z), "r"(chunk.w)
               : "memory");
}

__device__ inline void LoadMatricesFrom(uint32_t at, Fragment& f) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(f[0]), "=r"(f[1]), "=r"(f[2]), "=r"(f[3])
               : "r"(at)
               : "memory");
}
__device__ inline void LoadTurnedMatricesFrom(uint32_t at, Fragment& f) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(f[0]), "=r"(f[1]), "=r"(f[2]), "=r"(f[3])
               : "r"(at)
               : "memory");
}
__device__ inline void LoadMatrices(const void* at, Fragment& f) {
  LoadMatricesFrom(SharedAddress(at), f);
}
__device__ inline void LoadTurnedMatrices(const void* at, Fragment& f) {
  LoadTurnedMatricesFrom(SharedAddress(at), f);
}

// Lines [line, line + 16) and columns [16 step, 16 step + 16) of a tile, as the left operand.
template <int kD, typename T>
__device__ inline void LoadLeft(const T* tile, int line, int step, Fragment& f) {
  const int lane = threadIdx.x % 32;
  LoadMatrices(ChunkAt<kD>(tile, line + lane % 16, step * 2 + lane / 16), f);
}
// The same as the right operand, turned: its lines are the columns of two products.
template <int kD, typename T>
__device__ inline void LoadRightTurned(const T* tile, int line, int step, Fragment& f) {
  const int lane = threadIdx.x % 32;
  LoadMatrices(ChunkAt<kD>(tile, line + lane / 16 * 8 + lane % 8, step * 2 + lane / 8 % 2), f);
}
// The same as the right operand as it lies: its columns are those of two products.
template <int kD, typename T>
__device__ inline void LoadRight(const T* tile, int line, int step, Fragment& f) {
  const int lane = threadIdx.x % 32;
  LoadTurnedMatrices(ChunkAt<kD>(tile, line + lane % 16, step * 2 + lane / 16), f);
}

// c += a b, in fp32. c[0], c[1]: line lane / 4, columns 2 (lane % 4) and the next; c[2], c[3]: the
// same columns of line lane / 4 + 8.
template <typename T>
__device__ inline void MultiplyAdd(const Fragment& a, uint32_t b0, uint32_t b1, float (&c)[4]) {
  if constexpr (std::is_same_v<T, __half>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

template <typename T>
__device__ inline uint32_t PackTwo(float low, float high) {
  if constexpr (std::is_same_v<T, __half>) {
    const __half2 two = __floats2half2_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&two);
  } else {
    const __nv_bfloat162 two = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&two);
  }
}

// Two products side by side as a left operand, rounded to T.
template <typename T>
__device__ inline void AsLeft(const float (&left)[4], const float (&right)[4], Fragment& f) {
  f[0] = PackTwo<T>(left[0], left[1]);
  f[1] = PackTwo<T>(left[2], left[3]);
  f[2] = PackTwo<T>(right[0], right[1]);
  f[3] = PackTwo<T>(right[2], right[3]);
}

// c[.] += the 16 lines of `a` from `line` on, times the kLines lines of `b`, turned.
template <typename T, int kD, int kLines>
__device__ inline void MultiplyTurned(const T* a, int line, const T* b, float (&c)[kLines / 8][4]) {
#pragma unroll
  for (int step = 0; step < kD / 16; ++step) {
    Fragment left, right;
    LoadLeft<kD>(a, line, step, left);
#pragma unroll
    for (int n = 0; n < kLines / 16; ++n) {
      LoadRightTurned<kD>(b, n * 16, step, right);
      MultiplyAdd<T>(left, right[0], right[1], c[2 * n]);
      MultiplyAdd<T>(left, right[2], right[3], c[2 * n + 1]);
    }
  }
}

// c[.] += weights, rounded to T, times the kLines lines of `b`.
template <typename T, int kD, int kLines>
__device__ inline void MultiplyWeights(const float (&weights)[kLines / 8][4], const T* b,
                                       float (&c)[kD / 8][4]) {
#pragma unroll
  for (int step = 0; step < kLines / 16; ++step) {
    Fragment left, right;
    AsLeft<T>(weights[2 * step], weights[2 * step + 1], left);
#pragma unroll
    for (int n = 0; n < kD / 16; ++n) {
      LoadRight<kD>(b, step * 16, n, right);
      MultiplyAdd<T>(left, right[0], right[1], c[2 * n]);
      MultiplyAdd<T>(left, right[2], right[3], c[2 * n + 1]);
    }
  }
}

}  // namespace tp::nccl
