// SumExchange: what the members of a group send one another to complete a tree of sums.
//
// Each member holds nodes of the tree (tp/core/sum_order.h) for all elements. It gets everybody's
// nodes for its own part of the elements, adds them up, and all gather the sums.
#pragma once

#include <cstdint>
#include <vector>

#include "tp/core/shard_geometry.h"
#include "tp/core/sum_order.h"

namespace tp {

struct SumExchange {
  // `members` must split into blocks.
  SumExchange(int64_t elements, int members);

  ShardGeometry parts;               // of the elements, one a member
  std::vector<BlockRange> nodes;     // of all members, in order: the rows that a member gets
  std::vector<int64_t> node_counts;  // of the all_to_all
  std::vector<int64_t> sum_counts;   // of the all_gather
};

}  // namespace tp
