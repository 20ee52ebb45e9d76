// SumWalk: a way through the tree of tp/core/sum_order.h on which few sums wait to be added.
//
// A node's larger half comes first: an addition gives the same bits in either order, and so no more
// than kMostPending sums wait. Passed to kernels by value.
#pragma once

#include <cstdint>
#include <span>

#include "tp/core/sum_order.h"
#include "tp/schedule/schedule.h"

namespace tp::nccl {

struct SumWalk {
  static constexpr int kMostPending = 4;

  struct Leaf {
    int64_t begin = 0;  // what it sums up, [begin, end)
    int64_t end = 0;
    int merges = 0;  // how many of the sums that wait are then added to it; the newest first
  };

  int64_t first = 0;  // the index in the whole sum of term 0
  int num_nodes = 0;
  int first_leaf[kSumBlocks + 1] = {};  // of each node; the last: how many leaves there are
  Leaf leaves[kSumBlocks] = {};
};

// Through the blocks of sum.nodes. Leaves are the terms of a block, counted from the first block's.
SumWalk WalkBlocks(const BlockedSum& sum);

// Through the whole tree, down to `nodes`, which make it up. Leaf i is one of them: [i, i + 1).
SumWalk WalkNodes(std::span<const BlockRange> nodes);

}  // namespace tp::nccl
