// Several packed tensors in one launch: each is cut in pieces of one length, and each piece is a
// block's. What there is of them travels with the launch, as a parameter.
#pragma once

#include <cstdint>

#include "backends/nccl/kernels/element.cuh"

namespace tp::nccl {

// So that a launch's parameters stay below 4 KiB.
inline constexpr int kMostTensors = 64;

// kVectors vectors a piece, a multiple of kThreads.
template <int kVectors>
struct Pieces {
  int tensors = 0;
  int first[kMostTensors + 1] = {};  // by tensor: its first piece; at last, how many there are

  bool full() const { return tensors == kMostTensors; }
  int count() const { return first[tensors]; }
  void Add(int64_t vectors) {
    first[tensors + 1] = first[tensors] + static_cast<int>((vectors + kVectors - 1) / kVectors);
    ++tensors;
  }

  // The tensor of this block's piece.
  __device__ int Mine() const {
    const int piece = blockIdx.x;
    int low = 0, high = tensors;
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      (first[middle] <= piece ? low : high) = middle;
    }
    return low;
  }
  __device__ int OfTensor(int tensor) const { return first[tensor + 1] - first[tensor]; }

  // Calls body(vector) for this thread's vectors of a tensor that has so many.
  template <typename Body>
  __device__ void ForEach(int tensor, int64_t vectors, const Body& body) const {
    const int64_t begin = static_cast<int64_t>(blockIdx.x - first[tensor]) * kVectors;
#pragma unroll
    for (int i = 0; i < kVectors; i += kThreads) {
      const int64_t vector = begin + i + threadIdx.x;
      if (vector < vectors) body(vector);
    }
  }
};

}  // namespace tp::nccl
