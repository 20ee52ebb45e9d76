// A node of the tree of tp/core/sum_order.h, in a thread.
#pragma once

#include "backends/nccl/kernels/sum_walk.h"

namespace tp::nccl {

__device__ inline float Add(float a, float b) { return __fadd_rn(a, b); }
__device__ inline double Add(double a, double b) { return __dadd_rn(a, b); }

// sums[0 .. kCount) = a node's, where sum_leaf(leaf, sums) gives a leaf's. What waits stays in
// registers: no index depends on what the compiler can't see.
template <int kCount, typename W, typename SumLeaf>
__device__ inline void SumNode(const SumWalk& walk, int node, W* sums, const SumLeaf& sum_leaf) {
  W pending[SumWalk::kMostPending][kCount];
  int depth = 0;
  for (int leaf = walk.first_leaf[node]; leaf < walk.first_leaf[node + 1]; ++leaf) {
    sum_leaf(leaf, sums);
    for (int merges = walk.leaves[leaf].merges; merges > 0; --merges) {
      --depth;
#pragma unroll
      for (int level = 0; level < SumWalk::kMostPending; ++level) {
        if (level != depth) continue;
#pragma unroll
        for (int i = 0; i < kCount; ++i) sums[i] = Add(pending[level][i], sums[i]);
      }
    }
#pragma unroll
    for (int level = 0; level < SumWalk::kMostPending; ++level) {
      if (level != depth) continue;
#pragma unroll
      for (int i = 0; i < kCount; ++i) pending[level][i] = sums[i];
    }
    ++depth;
  }
}

}  // namespace tp::nccl
