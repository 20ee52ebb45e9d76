#include "sim/collectives/algorithm.h"

#include <glog/logging.h>

#include <bit>

#include "tp/core/dtype.h"

namespace tp::sim {

const char* Name(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::kAuto:
      return "auto";
    case Algorithm::kRing:
      return "ring";
    case Algorithm::kTree:
      return "tree";
    case Algorithm::kHalvingDoubling:
      return "halving_doubling";
    case Algorithm::kDirect:
      return "direct";
  }
  LOG(FATAL) << "no such algorithm: " << static_cast<int>(algorithm);
}

std::optional<Algorithm> ParseAlgorithm(std::string_view name) {
  for (Algorithm algorithm : kAllAlgorithms) {
    if (Name(algorithm) == name) return algorithm;
  }
  return std::nullopt;
}

bool HasForm(CollectiveKind kind, Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::kAuto:
      return false;
    case Algorithm::kRing:
      return kind != CollectiveKind::kAllToAll && kind != CollectiveKind::kBarrier;
    case Algorithm::kTree:
      return kind == CollectiveKind::kAllReduce || kind == CollectiveKind::kBroadcast;
    case Algorithm::kHalvingDoubling:
      return kind == CollectiveKind::kAllReduce || kind == CollectiveKind::kAllGather ||
             kind == CollectiveKind::kReduceScatter;
    case Algorithm::kDirect:
      return true;
  }
  LOG(FATAL) << "no such algorithm: " << static_cast<int>(algorithm);
}

// Between threads every member reaches every other in one hop and no two messages share a link, so
// direct exchange, which waits least often, was the fastest or level with it in all that was
// measured (2 to 64 members, 64 B to 8 MiB, 2 cores), but for this: among many members a small
// all_reduce is all waiting, and halving_doubling waits 2 log2(P) times where direct waits for 2 (P
// - 1) messages.
Algorithm Resolve(const CollectiveCall& call, Algorithm algorithm, int members) {
  if (HasForm(call.kind, algorithm)) return algorithm;
  constexpr int kManyMembers = 32;
  constexpr int64_t kSmallBytes = 128 << 10;
  if (call.kind == CollectiveKind::kAllReduce && members >= kManyMembers &&
      std::has_single_bit(static_cast<unsigned>(members)) &&
      TotalElements(call) * SizeOf(call.dtype) <= kSmallBytes) {
    return Algorithm::kHalvingDoubling;
  }
  return Algorithm::kDirect;
}

}  // namespace tp::sim
