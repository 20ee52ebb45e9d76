#include "tp/core/sum_order.h"

#include <glog/logging.h>

namespace tp {
namespace {

void Collect(BlockRange node, BlockRange range, std::vector<BlockRange>& nodes) {
  if (node.end <= range.begin || node.begin >= range.end) return;
  if (node.begin >= range.begin && node.end <= range.end) {
    nodes.push_back(node);
    return;
  }
  Collect({node.begin, node.Middle()}, range, nodes);
  Collect({node.Middle(), node.end}, range, nodes);
}

}  // namespace

std::string_view Name(SumOrder order) { return order == SumOrder::kFast ? "fast" : "invariant"; }

std::optional<SumOrder> ParseSumOrder(std::string_view name) {
  for (SumOrder order : {SumOrder::kFast, SumOrder::kInvariant}) {
    if (Name(order) == name) return order;
  }
  return std::nullopt;
}

BlockRange BlocksOfShard(int part, int parts) {
  CHECK(SplitsIntoBlocks(parts)) << parts << " does not divide " << kSumBlocks;
  const int blocks = kSumBlocks / parts;
  return {part * blocks, (part + 1) * blocks};
}

std::vector<BlockRange> LargestNodes(BlockRange range) {
  std::vector<BlockRange> nodes;
  Collect(BlockRange(), range, nodes);
  return nodes;
}

}  // namespace tp
