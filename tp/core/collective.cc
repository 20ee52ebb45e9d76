#include "tp/core/collective.h"

#include <glog/logging.h>

#include <numeric>

namespace tp {

std::string_view Name(CollectiveKind kind) {
  switch (kind) {
    case CollectiveKind::kAllReduce:
      return "all_reduce";
    case CollectiveKind::kAllGather:
      return "all_gather";
    case CollectiveKind::kReduceScatter:
      return "reduce_scatter";
    case CollectiveKind::kBroadcast:
      return "broadcast";
    case CollectiveKind::kAllToAll:
      return "all_to_all";
    case CollectiveKind::kBarrier:
      return "barrier";
  }
  LOG(FATAL) << "no such collective: " << static_cast<int>(kind);
}

std::string_view Name(Reduction reduction) {
  switch (reduction) {
    case Reduction::kSum:
      return "sum";
    case Reduction::kMax:
      return "max";
    case Reduction::kMin:
      return "min";
  }
  LOG(FATAL) << "no such reduction: " << static_cast<int>(reduction);
}

std::string ToString(const CollectiveCall& call) {
  std::string text(Name(call.kind));
  if (call.kind == CollectiveKind::kBarrier) return text + "()";
  text += "(";
  if (call.kind == CollectiveKind::kAllReduce || call.kind == CollectiveKind::kReduceScatter) {
    text += std::string(Name(call.reduction)) + ", ";
  }
  if (call.kind == CollectiveKind::kBroadcast) {
    text += "root " + std::to_string(call.root) + ", ";
  }
  return text + std::string(Name(call.dtype)) + ", " + std::to_string(TotalElements(call)) +
         " elements)";
}

int64_t TotalElements(const CollectiveCall& call) {
  return std::accumulate(call.counts.begin(), call.counts.end(), int64_t{0});
}

int64_t MinimalElementsSent(const CollectiveCall& call, int members) {
  const int64_t total = TotalElements(call);
  switch (call.kind) {
    case CollectiveKind::kAllReduce:
      return 2 * (members - 1) * total;
    case CollectiveKind::kAllGather:
    case CollectiveKind::kReduceScatter:
    case CollectiveKind::kBroadcast:
      return (members - 1) * total;
    case CollectiveKind::kAllToAll: {
      int64_t kept = 0;
      for (int i = 0; i < members; ++i) kept += call.counts[i * members + i];
      return total - kept;
    }
    case CollectiveKind::kBarrier:
      return 0;
  }
  LOG(FATAL) << "no such collective: " << static_cast<int>(call.kind);
}

double BusBandwidthFactor(CollectiveKind kind, int members) {
  const double others = static_cast<double>(members - 1) / members;
  switch (kind) {
    case CollectiveKind::kAllReduce:
      return 2 * others;
    case CollectiveKind::kAllGather:
    case CollectiveKind::kReduceScatter:
    case CollectiveKind::kAllToAll:
      return others;
    case CollectiveKind::kBroadcast:
      return 1;
    case CollectiveKind::kBarrier:
      return 0;
  }
  LOG(FATAL) << "no such collective: " << static_cast<int>(kind);
}

int TurnOf(const CollectiveCall& call, int members) {
  if (call.kind != CollectiveKind::kAllToAll) return 0;
  int turn = 0;
  for (int from = 0; from < members; ++from) {
    for (int to = 0; to < members; ++to) {
      if (call.counts[from * members + to] == 0) continue;
      const int places = (to + members - from) % members;
      if (places == 0 || (turn != 0 && turn != places)) return 0;
      turn = places;
    }
  }
  return turn;
}

}  // namespace tp
