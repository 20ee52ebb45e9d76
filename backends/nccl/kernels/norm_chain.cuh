// What the kernels of an RMS norm and of its gradient do besides, as parts of a chain of ops
// (backends/nccl/execution/norm_groups.h).
//
// Each op of a chain rounds as its own kernel does, and what is rounded goes on: the bits are those
// of one op after the other.
#pragma once

#include <cstdint>
#include <cstring>

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

// Has the compiler keep a pack in the four registers that it fills. It would widen its elements as
// soon as they are there, to as many registers as there are elements.
template <typename T, int kVector>
__device__ inline void KeepPacked(Pack<T, kVector>& pack) {
  static_assert(sizeof(pack) == 16);
  uint32_t words[4];
  memcpy(words, &pack, 16);
  asm("" : "+r"(words[0]), "+r"(words[1]), "+r"(words[2]), "+r"(words[3]));
  memcpy(&pack, words, 16);
}
template <typename T, int kVector>
__device__ inline Pack<T, kVector> LoadPacked(const T* at) {
  auto pack = LoadPack<T, kVector>(at);
  KeepPacked(pack);
  return pack;
}

template <typename T, int kVector>
__device__ inline Pack<T, kVector> RoundPack(const Accumulator<T> (&values)[kVector]) {
  Pack<T, kVector> pack;
#pragma unroll
  for (int k = 0; k < kVector; ++k) pack.at[k] = Round<T>(values[k]);
  return pack;
}
template <typename T, int kVector>
__device__ inline void StorePack(void* data, int64_t at, const Pack<T, kVector>& pack) {
  *reinterpret_cast<Pack<T, kVector>*>(static_cast<T*>(data) + at) = pack;
}
// No product before it becomes a part of the addition.
template <typename T, int kVector>
__device__ inline Pack<T, kVector> AddPacks(const Pack<T, kVector>& a, const Pack<T, kVector>& b) {
  Accumulator<T> sums[kVector];
#pragma unroll
  for (int k = 0; k < kVector; ++k) sums[k] = Add(Widen(a.at[k]), Widen(b.at[k]));
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
#pragma unroll
    for (int k = 0; k < kVector; ++k) sums[k] = Add(sums[k], Widen(parts[b].at[k]));
  }
  return RoundPack<T, kVector>(sums);
}
template <typename T, int kVector, int kBlocks>
__device__ inline Pack<T, kVector> SumOfBlocks(const Chain<kBlocks>& chain, int64_t at) {
  Pack<T, kVector> parts[kBlocks];
  const T* const first = static_cast<const T*>(chain.data) + at;
#pragma unroll
  for (int b = 0; b < kBlocks; ++b) {
    if (chain.Has(b)) parts[b] = LoadPacked<T, kVector>(first + b * chain.stride);
  }
  return AddUp(chain, parts);
}

// A thread's vectors of the line at `place` of total, which are then stored, too.
template <typename T, int kVector, int kPerRow, int kBlocks, int kHeld>
__device__ inline void TakeTotal(const Chain<kBlocks>& chain, int64_t place, int thread,
                                 int64_t length, Pack<T, kVector> (&total)[kHeld]) {
  Pack<T, kVector> added[kHeld];
#pragma unroll
  for (int h = 0; h < kHeld; ++h) {
    const int64_t j = (thread + h * kPerRow) * kVector;
    if (j >= length) continue;
    total[h] = SumOfBlocks<T, kVector>(chain, place + j);
    KeepPacked(total[h]);
    added[h] = LoadPacked<T, kVector>(static_cast<const T*>(chain.added) + place + j);
  }
#pragma unroll
  for (int h = 0; h < kHeld; ++h) {
    const int64_t j = (thread + h * kPerRow) * kVector;
    if (j >= length) continue;
    if (chain.sum != nullptr) StorePack(chain.sum, place + j, total[h]);
    total[h] = AddPacks(added[h], total[h]);
    KeepPacked(total[h]);
    if (chain.total != nullptr) StorePack(chain.total, place + j, total[h]);
  }
}

// A thread's vectors of a line of dy, while they are on their way: those of each block, unless that
// would take too many registers; then they are added up where they are fetched.
template <typename T, int kVector, int kHeld, typename Around>
class GradientLine {
 public:
  using P = Pack<T, kVector>;

  // `alone` is where the line of dy begins, for a gradient by itself.
  __device__ void Fetch(const Around& around, const T* alone, int64_t place, int64_t vectors) {
#pragma unroll
    for (int h = 0; h < kHeld; ++h) {
      const int64_t v = threadIdx.x + h * kThreads;
      if (v >= vectors) continue;
      if constexpr (!Around::kIsChain) {
        parts_[h][0] = LoadPack<T, kVector>(alone + v * kVector);
      } else if constexpr (kKept < Around::kMostBlocks) {
        parts_[h][0] = SumOfBlocks<T, kVector>(around, place + v * kVector);
        KeepPacked(parts_[h][0]);
      } else {
        const T* const first = static_cast<const T*>(around.data) + place + v * kVector;
#pragma unroll
        for (int b = 0; b < kKept; ++b) {
          if (around.Has(b)) {
            parts_[h][b] = LoadPacked<T, kVector>(first + b * around.stride);
          }
        }
      }
    }
  }
  // Vector number h, which is stored, too, if anybody reads it.
  __device__ P Take(const Around& around, int64_t place, int h, int64_t vectors) const {
    if constexpr (!Around::kIsChain) {
      return parts_[h][0];
    } else {
      P dy = parts_[h][0];
      if constexpr (kKept == Around::kMostBlocks) dy = AddUp(around, parts_[h]);
      const int64_t v = threadIdx.x + h * kThreads;
      if (around.sum != nullptr && v < vectors) StorePack(around.sum, place + v * kVector, dy);
      return dy;
    }
  }

 private:
  static constexpr int kMostKept = 4;
  static constexpr int kKept = Around::kMostBlocks * kHeld <= kMostKept ? Around::kMostBlocks : 1;

  P parts_[kHeld][kKept] = {};
};

}  // namespace tp::nccl
