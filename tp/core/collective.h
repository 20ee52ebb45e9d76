// The collective operations: their names, what identifies a call, and the bytes one must move.
//
// Group members are numbered 0..P-1 by their place in the group. Byte counts are the
// bandwidth-optimal ones (Patarasuk & Yuan, "Bandwidth optimal all-reduce algorithms for clusters
// of workstations", JPDC 2009); busbw is defined as in NVIDIA's nccl-tests (doc/PERFORMANCE.md).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tp/core/dtype.h"

namespace tp {

enum class CollectiveKind {
  kAllReduce,      // every member ends with the reduction of all inputs
  kAllGather,      // every member ends with all blocks, in member order
  kReduceScatter,  // member i ends with block i of the reduction
  kBroadcast,      // every member ends with the root's input
  kAllToAll,       // member i ends with block i of every input, in member order
  kBarrier,        // nobody leaves before everybody came
};

enum class Reduction { kSum, kMax, kMin };

// "all_reduce", "all_gather", ...; "sum", "max", "min".
std::string_view Name(CollectiveKind kind);
std::string_view Name(Reduction reduction);

// What every member of a group must say alike. `counts` are elements:
//   all_reduce, broadcast      one number: the whole array
//   all_gather, reduce_scatter P numbers: block i is member i's; blocks may differ and be empty
//   all_to_all                 P*P numbers: counts[i * P + j] go from member i to member j
//   barrier                    none
struct CollectiveCall {
  CollectiveKind kind = CollectiveKind::kBarrier;
  DType dtype = DType::kFloat32;
  Reduction reduction = Reduction::kSum;  // read by all_reduce and reduce_scatter
  int root = 0;                           // read by broadcast
  std::vector<int64_t> counts;

  bool operator==(const CollectiveCall&) const = default;
};

// "all_reduce(sum, fp32, 1000 elements)": for error messages and printed schedules.
std::string ToString(const CollectiveCall& call);

// Elements of the whole array (what nccl-tests calls the size).
int64_t TotalElements(const CollectiveCall& call);

// Elements that all members of a group of `members` together send, at the least.
int64_t MinimalElementsSent(const CollectiveCall& call, int members);

// busbw / algbw for a group of `members`: 2(P-1)/P for all_reduce, (P-1)/P for all_gather,
// reduce_scatter and all_to_all, 1 for broadcast, 0 for barrier.
double BusBandwidthFactor(CollectiveKind kind, int members);

// A turn is an all_to_all in which each member sends to one other, which lies the same number of
// places behind it for all of them. That number, or 0 where it is none.
int TurnOf(const CollectiveCall& call, int members);

}  // namespace tp
