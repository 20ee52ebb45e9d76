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

// The same for many sums a thread: what waits is in local memory, but for the newest, which is in
// registers. `sum_leaf` knows where `sums` is.
template <int kCount, typename SumLeaf>
__device__ inline void SumNodeOnStack(const SumWalk& walk, int node, float* sums,
                                      const SumLeaf& sum_leaf) {
  float newest[kCount], older[SumWalk::kMostPending - 1][kCount];
  bool has_newest = false;
  int depth = 0;
  const int end = walk.first_leaf[node + 1];
  for (int leaf = walk.first_leaf[node]; leaf < end; ++leaf) {
    sum_leaf(leaf);
    for (int merges = walk.leaves[leaf].merges; merges > 0; --merges) {
      if (has_newest) {
#pragma unroll
        for (int i = 0; i < kCount; ++i) sums[i] = Add(newest[i], sums[i]);
        has_newest = false;
      } else {
        --depth;
#pragma unroll
        for (int i = 0; i < kCount; ++i) sums[i] = Add(older[depth][i], sums[i]);
      }
    }
    if (leaf + 1 == end) break;
    if (has_newest) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) older[depth][i] = newest[i];
      ++depth;
    }
#pragma unroll
    for (int i = 0; i < kCount; ++i) newest[i] = sums[i];
    has_newest = true;
  }
}

}  // namespace tp::nccl
