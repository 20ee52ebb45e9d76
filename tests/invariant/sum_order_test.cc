// The tree of sums: every shard is made of whole blocks and of as few nodes as can be.

#include "tp/core/sum_order.h"

#include <gtest/gtest.h>

#include "tp/core/shard_geometry.h"

namespace tp {
namespace {

TEST(SumOrder, NamesAreParsedBack) {
  EXPECT_EQ(ParseSumOrder("fast"), SumOrder::kFast);
  EXPECT_EQ(ParseSumOrder("invariant"), SumOrder::kInvariant);
  EXPECT_EQ(ParseSumOrder("Invariant"), std::nullopt);
  EXPECT_EQ(ParseSumOrder(""), std::nullopt);
}

// Whatever the size, a shard begins and ends where a block does.
TEST(SumOrder, ShardsAreUnionsOfBlocks) {
  for (int64_t size = 0; size <= 200; ++size) {
    const ShardGeometry blocks(size, kSumBlocks);
    for (int parts = 1; parts <= kSumBlocks; ++parts) {
      if (!SplitsIntoBlocks(parts)) continue;
      const ShardGeometry shards(size, parts);
      for (int part = 0; part < parts; ++part) {
        const BlockRange range = BlocksOfShard(part, parts);
        ASSERT_EQ(shards.Offset(part), blocks.Offset(range.begin)) << size << " over " << parts;
        ASSERT_EQ(shards.Offset(part + 1), blocks.Offset(range.end)) << size << " over " << parts;
      }
    }
  }
}

// Whether `node` is reached from the root by halving, and at which depth.
int DepthOf(BlockRange node) {
  BlockRange at;
  int depth = 0;
  while (!(at == node)) {
    if (at.end - at.begin <= 1) return -1;
    at = node.end <= at.Middle() ? BlockRange{at.begin, at.Middle()}
                                 : BlockRange{at.Middle(), at.end};
    ++depth;
  }
  return depth;
}

TEST(SumOrder, NodesCoverEveryRangeOnce) {
  for (int begin = 0; begin < kSumBlocks; ++begin) {
    for (int end = begin + 1; end <= kSumBlocks; ++end) {
      int next = begin;
      for (const BlockRange node : LargestNodes({begin, end})) {
        EXPECT_EQ(node.begin, next);
        EXPECT_GE(DepthOf(node), 0) << node.begin << " to " << node.end << " is no node";
        EXPECT_LE(DepthOf(node), kSumTreeDepth);
        next = node.end;
      }
      EXPECT_EQ(next, end);
    }
  }
}

TEST(SumOrder, PowersOfTwoHoldOneNodeEach) {
  for (int parts : {1, 2, 4, 8}) {
    for (int part = 0; part < parts; ++part) {
      EXPECT_EQ(LargestNodes(BlocksOfShard(part, parts)).size(), 1u) << part << " of " << parts;
    }
  }
}

TEST(SumOrderDeathTest, RejectsShardsThatCutBlocks) {
  EXPECT_DEATH(BlocksOfShard(0, 5), "5 does not divide 24");
}

}  // namespace
}  // namespace tp
