// Whoever follows a walk adds up what the tree says, with no more sums waiting than it may.

#include "backends/nccl/kernels/sum_walk.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tp/core/shard_geometry.h"

namespace tp::nccl {
namespace {

// What a walk adds to what, as text. An addition's operands are in order, since either is right.
std::string Add(const std::string& a, const std::string& b) {
  return a < b ? "(" + a + "+" + b + ")" : "(" + b + "+" + a + ")";
}

std::string LeafText(int64_t begin, int64_t end) {
  return std::to_string(begin) + ":" + std::to_string(end);
}

std::string Follow(const SumWalk& walk, int node) {
  std::vector<std::string> pending;
  std::string sum;
  for (int leaf = walk.first_leaf[node]; leaf < walk.first_leaf[node + 1]; ++leaf) {
    EXPECT_LE(pending.size(), static_cast<size_t>(SumWalk::kMostPending));
    sum = LeafText(walk.leaves[leaf].begin, walk.leaves[leaf].end);
    for (int i = 0; i < walk.leaves[leaf].merges; ++i) {
      sum = Add(pending.back(), sum);
      pending.pop_back();
    }
    pending.push_back(sum);
  }
  EXPECT_EQ(pending.size(), 1u);
  return sum;
}

std::string TreeOfBlocks(BlockRange node, const ShardGeometry& blocks, int64_t first) {
  if (node.end - node.begin == 1) {
    return LeafText(blocks.Offset(node.begin) - first, blocks.Offset(node.end) - first);
  }
  return Add(TreeOfBlocks({node.begin, node.Middle()}, blocks, first),
             TreeOfBlocks({node.Middle(), node.end}, blocks, first));
}

TEST(SumWalk, BlocksAreAddedAlongTheTree) {
  for (int64_t terms : {0, 1, 23, 24, 100}) {
    const ShardGeometry blocks(terms, kSumBlocks);
    for (int begin = 0; begin < kSumBlocks; ++begin) {
      for (int end = begin + 1; end <= kSumBlocks; ++end) {
        const BlockedSum sum{terms, LargestNodes({begin, end})};
        const SumWalk walk = WalkBlocks(sum);
        ASSERT_EQ(walk.num_nodes, static_cast<int>(sum.nodes.size()));
        ASSERT_EQ(walk.first_leaf[walk.num_nodes], end - begin);
        for (int i = 0; i < walk.num_nodes; ++i) {
          EXPECT_EQ(Follow(walk, i), TreeOfBlocks(sum.nodes[i], blocks, blocks.Offset(begin)));
        }
      }
    }
  }
}

std::string TreeOfNodes(BlockRange node, const std::vector<BlockRange>& nodes) {
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (nodes[i] == node) return LeafText(static_cast<int64_t>(i), static_cast<int64_t>(i) + 1);
  }
  return Add(TreeOfNodes({node.begin, node.Middle()}, nodes),
             TreeOfNodes({node.Middle(), node.end}, nodes));
}

TEST(SumWalk, NodesOfAllRanksMakeUpTheTree) {
  for (int parts : {1, 2, 3, 4, 6, 8, 12, 24}) {
    std::vector<BlockRange> nodes;
    for (int part = 0; part < parts; ++part) {
      for (BlockRange node : LargestNodes(BlocksOfShard(part, parts))) nodes.push_back(node);
    }
    EXPECT_EQ(Follow(WalkNodes(nodes), 0), TreeOfNodes(BlockRange(), nodes)) << parts;
  }
}

TEST(SumWalkDeathTest, RefusesNodesThatLeaveAGap) {
  const std::vector<BlockRange> nodes = {{0, 12}, {12, 18}};
  EXPECT_DEATH(WalkNodes(nodes), "is in no node");
}

}  // namespace
}  // namespace tp::nccl
