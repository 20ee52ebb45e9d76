#include "backends/nccl/kernels/sum_walk.h"

#include <glog/logging.h>

#include <algorithm>
#include <functional>
#include <optional>

#include "tp/core/shard_geometry.h"

namespace tp::nccl {
namespace {

// What a node sums up, where it is a leaf.
using LeafAt = std::function<std::optional<SumWalk::Leaf>(BlockRange)>;

void Visit(BlockRange node, const LeafAt& leaf_at, int pending, int& end, SumWalk& walk) {
  CHECK_LE(pending, SumWalk::kMostPending);
  if (const std::optional<SumWalk::Leaf> leaf = leaf_at(node)) {
    walk.leaves[end++] = *leaf;
    return;
  }
  CHECK_GT(node.end - node.begin, 1) << "block " << node.begin << " is in no node";
  const BlockRange first{node.begin, node.Middle()};
  const BlockRange second{node.Middle(), node.end};
  const bool swap = second.end - second.begin > first.end - first.begin;
  Visit(swap ? second : first, leaf_at, pending, end, walk);
  Visit(swap ? first : second, leaf_at, pending + 1, end, walk);
  ++walk.leaves[end - 1].merges;
}

void AddNode(BlockRange node, const LeafAt& leaf_at, SumWalk& walk) {
  int end = walk.first_leaf[walk.num_nodes];
  Visit(node, leaf_at, 0, end, walk);
  walk.first_leaf[++walk.num_nodes] = end;
}

}  // namespace

SumWalk WalkBlocks(const BlockedSum& sum) {
  const ShardGeometry blocks(sum.terms, kSumBlocks);
  const int64_t first = blocks.Offset(sum.nodes.front().begin);
  SumWalk walk;
  walk.first = sum.each * first;
  for (BlockRange node : sum.nodes) {
    AddNode(
        node,
        [&](BlockRange range) -> std::optional<SumWalk::Leaf> {
          if (range.end - range.begin > 1) return std::nullopt;
          return SumWalk::Leaf{sum.each * (blocks.Offset(range.begin) - first),
                               sum.each * (blocks.Offset(range.end) - first), 0};
        },
        walk);
  }
  return walk;
}

SumWalk WalkNodes(std::span<const BlockRange> nodes) {
  SumWalk walk;
  AddNode(
      BlockRange(),
      [&](BlockRange range) -> std::optional<SumWalk::Leaf> {
        const auto at = std::find(nodes.begin(), nodes.end(), range);
        if (at == nodes.end()) return std::nullopt;
        return SumWalk::Leaf{at - nodes.begin(), at - nodes.begin() + 1, 0};
      },
      walk);
  CHECK_EQ(walk.first_leaf[1], static_cast<int>(nodes.size()));
  return walk;
}

}  // namespace tp::nccl
