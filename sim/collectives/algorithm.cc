#include "sim/collectives/algorithm.h"

#include <glog/logging.h>

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

Algorithm Resolve(const CollectiveCall& call, Algorithm algorithm, int members) {
  if (HasForm(call.kind, algorithm)) return algorithm;
  static_cast<void>(members);
  return Algorithm::kDirect;
}

}  // namespace tp::sim
