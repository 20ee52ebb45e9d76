#include "tp/schedule/sum_exchange.h"

namespace tp {

SumExchange::SumExchange(int64_t elements, int members) : parts(elements, members) {
  for (int i = 0; i < members; ++i) {
    const std::vector<BlockRange> own = LargestNodes(BlocksOfShard(i, members));
    nodes.insert(nodes.end(), own.begin(), own.end());
    for (int j = 0; j < members; ++j) {
      node_counts.push_back(static_cast<int64_t>(own.size()) * parts.Length(j));
    }
    sum_counts.push_back(parts.Length(i));
  }
}

}  // namespace tp
