// Which function carries out which call.
#include <glog/logging.h>

#include "sim/collectives/exchange.h"

namespace tp::sim {

// See the functions in exchange.h for what they keep there.
int64_t ScratchBytes(const CollectiveCall& call, Algorithm algorithm, int member, int members) {
  int64_t elements = 0;
  if (call.kind == CollectiveKind::kAllToAll) {
    for (int to = 0; to < members; ++to) elements += call.counts[member * members + to];
  } else if (call.kind == CollectiveKind::kReduceScatter) {
    elements = algorithm == Algorithm::kDirect ? call.counts[member] : TotalElements(call);
  } else if (call.kind == CollectiveKind::kAllReduce && algorithm == Algorithm::kDirect) {
    elements = ShardGeometry(call.counts[0], members).Length(member);
  }
  return elements * SizeOf(call.dtype);
}

void BlockOffsets(const CollectiveCall& call, std::vector<int64_t>& offsets) {
  offsets.clear();
  if (call.kind != CollectiveKind::kAllGather && call.kind != CollectiveKind::kReduceScatter) {
    return;
  }
  offsets.push_back(0);
  for (int64_t count : call.counts) {
    offsets.push_back(offsets.back() + count * SizeOf(call.dtype));
  }
}

Status Carry(const Exchange& x, Algorithm algorithm) {
  const bool ring = algorithm == Algorithm::kRing;
  const bool tree = algorithm == Algorithm::kTree;
  const bool halving_doubling = algorithm == Algorithm::kHalvingDoubling;
  switch (x.call.kind) {
    case CollectiveKind::kAllReduce:
      if (ring) return RingAllReduce(x);
      if (tree) return TreeAllReduce(x);
      return halving_doubling ? HalvingDoublingAllReduce(x) : DirectAllReduce(x);
    case CollectiveKind::kAllGather:
      if (ring) return RingAllGather(x);
      return halving_doubling ? HalvingDoublingAllGather(x) : DirectAllGather(x);
    case CollectiveKind::kReduceScatter:
      if (ring) return RingReduceScatter(x);
      return halving_doubling ? HalvingDoublingReduceScatter(x) : DirectReduceScatter(x);
    case CollectiveKind::kBroadcast:
      if (ring) return RingBroadcast(x);
      return tree ? TreeBroadcast(x) : DirectBroadcast(x);
    case CollectiveKind::kAllToAll:
      return DirectAllToAll(x);
    case CollectiveKind::kBarrier:
      return DisseminationBarrier(x);
  }
  LOG(FATAL) << "no such collective: " << static_cast<int>(x.call.kind);
}

}  // namespace tp::sim
