// What the kernels of an RMS norm and of its gradient do besides, as parts of a chain of ops
// (backends/nccl/execution/norm_groups.h).
//
// Each op of a chain rounds as its own kernel does, and what is rounded goes on: the bits are those
// of one op after the other.
#pragma once

#include <cstdint>

#include "backends/nccl/kernels/sum_node.cuh"
#include "backends/nccl/kernels/walk.cuh"

namespace tp::nccl {

// What the compiler may not put together otherwise in one kernel than in another one.
__device__ inline float Mul(float a, float b) { return __fmul_rn(a, b); }
__device__ inline double Mul(double a, double b) { return __dmul_rn(a, b); }
__device__ inline float Fma(float a, float b, float c) { return __fmaf_rn(a, b, c); }
__device__ inline double Fma(double a, double b, double c) { return __fma_rn(a, b, c); }

// A norm, or its gradient, by itself.
struct Alone {
  static constexpr bool kIsChain = false;
  static constexpr int kMostBlocks = 1;
};

// What else a kernel does. All tensors lie as the norm's x does, with the same places.
//   norm:      total = added + the sum of the blocks, which is x
//   gradient:  dy = the sum of the blocks; total = added + dx, where `added` is not null
// A sum of one block is the block itself. Where `sum` or the norm's `total` is null it is not
// stored.
template <int kBlocks>
struct Chain {
  static constexpr bool kIsChain = true;
  static constexpr int kMostBlocks = kBlocks;

  const void* data = nullptr;  // of the first block
  int64_t stride = 0;          // to the next one, in elements
  int blocks = 1;              // kBlocks at most
  void* sum = nullptr;
  const void* added = nullptr;
  void* total = nullptr;

  // Of fewer than half as many a smaller Chain takes care.
  __device__ bool Has(int block) const { return block <= kBlocks / 2 || block < blocks; }
};

// No product before it becomes a part of the addition.
template <typename T, int kVector>
__device__ inline Pack<T, kVector> AddPacks(const Pack<T, kVector>& a, const Pack<T, kVector>& b) {
  const auto of_a = Widen(a), of_b = Widen(b);
  Accumulator<T> sums[kVector];
#pragma unroll
  for (int k = 0; k < kVector; ++k) sums[k] = Add(of_a.at[k], of_b.at[k]);
  return RoundPack<T, kVector>(sums);
}

// A vector of each block, as sum_rows adds them up: to zero, in order.
template <typename T, int kVector, int kBlocks>
__device__ inline Pack<T, kVector> AddUp(const Chain<kBlocks>& chain,
                                         const Pack<T, kVector> (&parts)[kBlocks]) {
  if constexpr (kBlocks == 1) return parts[0];
  Accumulator<T> sums[kVector] = {};
#pragma unroll
  for (int b = 0; b < kBlocks; ++b) {
    if (!chain.Has(b)) continue;
    const auto part = Widen(parts[b]);
#pragma unroll
    for (int k = 0; k < kVector; ++k) sums[k] = Add(sums[k], part.at[k]);
  }
  return RoundPack<T, kVector>(sums);
}
template <typename T, int kVector, int kBlocks>
__device__ inline Pack<T, kVector> SumOfBlocks(const Chain<kBlocks>& chain, int64_t at,
                                               bool there) {
  Pack<T, kVector> parts[kBlocks];
  const T* const first = static_cast<const T*>(chain.data) + at;
#pragma unroll
  for (int b = 0; b < kBlocks; ++b) {
    parts[b] = LoadPack<T, kVector>(first + b * chain.stride, there && chain.Has(b));
    KeepPacked(parts[b]);
  }
  return AddUp(chain, parts);
}

// The `mine` vectors that a thread has of the line at `place` of total, which are then stored, too;
// zeros behind them.
template <typename T, int kVector, int kPerRow, int kBlocks, int kHeld>
__device__ inline void TakeTotal(const Chain<kBlocks>& chain, int64_t place, int thread,
                                 int64_t mine, Pack<T, kVector> (&total)[kHeld]) {
  Pack<T, kVector> added[kHeld];
#pragma unroll
  for (int h = 0; h < kHeld; ++h) {
    const int64_t j = (thread + h * kPerRow) * kVector;
    total[h] = SumOfBlocks<T, kVector>(chain, place + j, h < mine);
    KeepPacked(total[h]);
    added[h] = LoadPack<T, kVector>(static_cast<const T*>(chain.added) + place + j, h < mine);
    KeepPacked(added[h]);
  }
#pragma unroll
  for (int h = 0; h < kHeld; ++h) {
    const int64_t j = (thread + h * kPerRow) * kVector;
    if (h < mine && chain.sum != nullptr) StorePack(chain.sum, place + j, total[h]);
    total[h] = AddPacks(added[h], total[h]);
    KeepPacked(total[h]);
    if (h < mine && chain.total != nullptr) StorePack(chain.total, place + j, total[h]);
  }
}

// What a gradient stages of a row: x, dy or the blocks that it is the sum of, and `added`.
template <typename Around>
struct GradientLines {
  static constexpr int kX = 0, kDy = 1, kAdded = 1 + Around::kMostBlocks;
  static constexpr int kCount = Around::kIsChain ? kAdded + 1 : kAdded;
};

// `dy` is the line of a gradient by itself.
template <typename T, typename Around, typename Lines>
__device__ inline void FetchGradient(const Around& around, const T* dy, int64_t place,
                                     Lines& lines) {
  using Number = GradientLines<Around>;
  if constexpr (Around::kIsChain) {
    const T* const first = static_cast<const T*>(around.data) + place;
#pragma unroll
    for (int b = 0; b < Around::kMostBlocks; ++b) {
      if (around.Has(b)) lines.Fetch(Number::kDy + b, first + b * around.stride);
    }
    if (around.added != nullptr) {
      lines.Fetch(Number::kAdded, static_cast<const T*>(around.added) + place);
    }
  } else {
    lines.Fetch(Number::kDy, dy);
  }
}

// Vector number h of dy. Of several blocks it is added up, and takes the first one's place; it is
// stored, too, if anybody reads it.
template <typename T, typename Around, typename Lines>
__device__ inline auto TakeGradient(const Around& around, int64_t place, int h, Lines& lines) {
  using Number = GradientLines<Around>;
  auto dy = lines.Get(Number::kDy, h);
  if constexpr (Around::kIsChain) {
    constexpr int kVector = Lines::kVector;
    if constexpr (Around::kMostBlocks > 1) {
      Pack<T, kVector> parts[Around::kMostBlocks] = {dy};
#pragma unroll
      for (int b = 1; b < Around::kMostBlocks; ++b) {
        if (around.Has(b)) parts[b] = lines.Get(Number::kDy + b, h);
      }
      dy = AddUp(around, parts);
      lines.Put(Number::kDy, h, dy);
    }
    const int64_t v = threadIdx.x + h * kThreads;
    if (around.sum != nullptr) StorePack(around.sum, place + v * kVector, dy);
  }
  return dy;
}

}  // namespace tp::nccl
