// SumOrder: in which order a step adds up its sums, and the one order that no split can change.
//
// kFast leaves the order to kernels and collectives. kInvariant takes every sum over a dimension
// along one tree, whatever the number of ranks: the dimension is cut into kSumBlocks blocks
// (tp/core/shard_geometry.h), each block is summed from zero, first element to last, and a node of
// the tree, blocks [begin, end), is its first half plus its second half. Cuts nest, so a shard over
// any number of ranks that divides kSumBlocks is a union of whole blocks: a rank works out the
// largest nodes of the tree inside its shard, and the nodes of all ranks are added up along the
// rest of it. Over 2, 4 or 8 ranks each shard is one node.
//
// Source: blocked and pairwise summation; Higham, "Accuracy and Stability of Numerical Algorithms",
// 2nd ed., ch. 4, which also has its error: one rounding an addition on the longest way.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace tp {

enum class SumOrder { kFast, kInvariant };

// "fast", "invariant": the spelling of --reduction.
std::string_view Name(SumOrder order);
std::optional<SumOrder> ParseSumOrder(std::string_view name);

// The least number that 1, 2, 3, 4, 6 and 8 divide.
inline constexpr int kSumBlocks = 24;
// Additions on the way from a block to the root.
inline constexpr int kSumTreeDepth = 5;

// Whether shards over `parts` ranks are unions of blocks.
constexpr bool SplitsIntoBlocks(int parts) { return kSumBlocks % parts == 0; }

// Blocks [begin, end) of a dimension.
struct BlockRange {
  int begin = 0;
  int end = kSumBlocks;

  // Where the tree splits a node of more than one block.
  constexpr int Middle() const { return begin + (end - begin) / 2; }
  bool operator==(const BlockRange&) const = default;
};

// The blocks in shard `part` of `parts`; CHECKs that shards are unions of blocks.
BlockRange BlocksOfShard(int part, int parts);

// The fewest nodes of the tree that make up `range`, in order.
std::vector<BlockRange> LargestNodes(BlockRange range);

}  // namespace tp
