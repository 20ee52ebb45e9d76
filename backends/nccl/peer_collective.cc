#include "backends/nccl/peer_collective.h"

#include <glog/logging.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "backends/nccl/error.h"

namespace tp::nccl {
namespace {

// What a member sends to all others, at the most.
constexpr int64_t kMostDirectToSum = int64_t{512} << 10;
constexpr int64_t kMostDirectToPlace = int64_t{2} << 20;

bool Reduces(const CollectiveCall& call) {
  return call.kind == CollectiveKind::kAllReduce || call.kind == CollectiveKind::kReduceScatter;
}

Transfer Between(const CollectiveCall& call, int members, int from, int to) {
  const std::vector<int64_t>& counts = call.counts;
  const auto sum = [&](int begin, int end, int stride) {
    int64_t total = 0;
    for (int i = begin; i < end; i += stride) total += counts[i];
    return total;
  };
  switch (call.kind) {
    case CollectiveKind::kAllReduce:
      return {0, counts[0], 0};
    case CollectiveKind::kReduceScatter:
      return {sum(0, to, 1), counts[to], 0};
    case CollectiveKind::kAllGather:
      return {0, counts[from], sum(0, from, 1)};
    case CollectiveKind::kBroadcast:
      return {0, from == call.root ? counts[0] : 0, 0};
    case CollectiveKind::kAllToAll:
      return {sum(from * members, from * members + to, 1), counts[from * members + to],
              sum(to, from * members + to, members)};
    case CollectiveKind::kBarrier:
      return {};
  }
  LOG(FATAL) << "no such collective: " << static_cast<int>(call.kind);
  return {};
}

// The share that a member sums, cut where 16 bytes end for all_reduce.
std::pair<int64_t, int64_t> ShareOf(const CollectiveCall& call, int members, int member) {
  if (call.kind == CollectiveKind::kReduceScatter) {
    const int64_t begin =
        std::accumulate(call.counts.begin(), call.counts.begin() + member, int64_t{0});
    return {begin, call.counts[member]};
  }
  const int64_t vector = 16 / SizeOf(call.dtype);
  const int64_t vectors = (call.counts[0] + vector - 1) / vector;
  const int64_t length = (vectors + members - 1) / members * vector;
  const int64_t begin = std::min(member * length, call.counts[0]);
  return {begin, std::min(length, call.counts[0] - begin)};
}

int64_t LinesOfOneMember(const CollectiveCall& call, int members) {
  int64_t most = 1;
  for (int from = 0; from < members; ++from) {
    for (int to = 0; to < members; ++to) {
      most = std::max(most, Between(call, members, from, to).count);
    }
  }
  return (most * SizeOf(call.dtype) + kLineData - 1) / kLineData;
}

}  // namespace

std::string_view Name(PeerAlgorithm algorithm) {
  constexpr std::string_view kNames[] = {"peer direct", "peer copies", "peer shares"};
  return kNames[static_cast<int>(algorithm)];
}

PeerAlgorithm ChoosePeerAlgorithm(const CollectiveCall& call, int members, Peers peers) {
  int64_t most = 0;
  for (int i = 0; i < members; ++i) {
    most = std::max(most, BytesSent(call, members, i, PeerAlgorithm::kDirect));
  }
  const int64_t limit = Reduces(call) ? kMostDirectToSum : kMostDirectToPlace;
  const bool direct = peers == Peers::kDirect || (peers == Peers::kAuto && most <= limit);
  if (direct) return PeerAlgorithm::kDirect;
  return Reduces(call) ? PeerAlgorithm::kShares : PeerAlgorithm::kCopies;
}

int64_t PeerCollective::ScratchBytes(const CollectiveCall& call, int members,
                                     PeerAlgorithm algorithm) {
  const int64_t inbox = 2 * members * LinesOfOneMember(call, members) * kLineBytes;
  return static_cast<int64_t>(sizeof(PeerState)) +
         (algorithm == PeerAlgorithm::kDirect ? inbox : 0);
}

PeerCollective::PeerCollective(CollectiveCall call, PeerAlgorithm algorithm, int me,
                               const std::vector<PeerMember>& members, const unsigned* stop)
    : call_(std::move(call)), algorithm_(algorithm), members_(members) {
  const int count = static_cast<int>(members.size());
  CHECK(count >= 2 && count <= kMostPeers) << count;
  CHECK(algorithm == PeerAlgorithm::kDirect ||
        Reduces(call_) == (algorithm == PeerAlgorithm::kShares))
      << Name(algorithm) << " for " << ToString(call_);
  static_assert(sizeof(PeerState) % kLineBytes == 0);
  Meeting meeting{count, me, {}, stop};
  for (int i = 0; i < count; ++i) {
    meeting.states[i] = reinterpret_cast<PeerState*>(members[i].scratch);
    exchange_.inboxes[i] = members[i].scratch + sizeof(PeerState);
    exchange_.to[i] = Between(call_, count, me, i);
    exchange_.from[i] = Between(call_, count, i, me);
  }
  exchange_.meeting = meeting;
  exchange_.lines = LinesOfOneMember(call_, count);
  exchange_.send = members[me].send;
  exchange_.receive = members[me].receive;
  exchange_.reduces = Reduces(call_);
  exchange_.reduction = call_.reduction;
  if (algorithm != PeerAlgorithm::kShares) return;
  const auto [begin, length] = ShareOf(call_, count, me);
  const int64_t offset = begin * SizeOf(call_.dtype);
  share_.meeting = meeting;
  share_.count = length;
  share_.reduction = call_.reduction;
  for (int i = 0; i < count; ++i) {
    share_.sends[i] = members[i].send + offset;
    if (call_.kind == CollectiveKind::kAllReduce) {
      share_.receives[share_.receivers++] = members[i].receive + offset;
    }
  }
  if (share_.receivers == 0) share_.receives[share_.receivers++] = members[me].receive;
}

Status PeerCollective::Enqueue(cudaStream_t stream, cudaEvent_t begun) const {
  switch (algorithm_) {
    case PeerAlgorithm::kDirect:
      return FromCuda(EnqueueExchange(exchange_, call_.dtype, stream), "peer exchange");
    case PeerAlgorithm::kCopies:
      return EnqueueCopies(stream);
    case PeerAlgorithm::kShares:
      return FromCuda(EnqueueShareSum(share_, call_.dtype, stream, begun), "peer sum of shares");
  }
  LOG(FATAL) << "no such algorithm: " << static_cast<int>(algorithm_);
  return OkStatus();
}

Status PeerCollective::EnqueueCopies(cudaStream_t stream) const {
  const Meeting& meeting = exchange_.meeting;
  const int64_t width = SizeOf(call_.dtype);
  TP_RETURN_IF_ERROR(FromCuda(EnqueueMeeting(meeting, MeetTo::kBegin, stream), "peer meeting"));
  for (int k = 0; k < meeting.members; ++k) {
    const int other = (meeting.me + 1 + k) % meeting.members;  // this member comes last
    const Transfer& transfer = exchange_.to[other];
    const char* from = exchange_.send + transfer.send_from * width;
    char* to = members_[other].receive + transfer.receive_at * width;
    if (transfer.count == 0 || from == to) continue;
    TP_CUDA(cudaMemcpyAsync(to, from, transfer.count * width, cudaMemcpyDefault, stream));
  }
  return FromCuda(EnqueueMeeting(meeting, MeetTo::kEnd, stream), "peer meeting");
}

int64_t StatedBytes(const CollectiveCall& call, int members, PeerAlgorithm algorithm) {
  const bool everything_to_everybody =
      call.kind == CollectiveKind::kAllReduce && algorithm == PeerAlgorithm::kDirect;
  const int64_t elements = everything_to_everybody
                               ? int64_t{members} * (members - 1) * TotalElements(call)
                               : MinimalElementsSent(call, members);
  return elements * SizeOf(call.dtype);
}

int64_t BytesSent(const CollectiveCall& call, int members, int index, PeerAlgorithm algorithm) {
  if (TotalElements(call) == 0) return 0;
  int64_t elements = 0;
  if (algorithm == PeerAlgorithm::kShares) {
    // The others fetch their shares here; all_reduce hands them this one's sum besides.
    for (int i = 0; i < members; ++i) {
      if (i != index) elements += ShareOf(call, members, i).second;
    }
    if (call.kind == CollectiveKind::kAllReduce) {
      elements += (members - 1) * ShareOf(call, members, index).second;
    }
  } else {
    for (int i = 0; i < members; ++i) {
      if (i != index) elements += Between(call, members, index, i).count;
    }
  }
  return elements * SizeOf(call.dtype);
}

}  // namespace tp::nccl
