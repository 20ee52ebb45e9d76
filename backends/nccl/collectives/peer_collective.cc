#include "backends/nccl/collectives/peer_collective.h"

#include <glog/logging.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "backends/nccl/error.h"

namespace tp::nccl {
namespace {

bool Reduces(CollectiveKind kind) {
  return kind == CollectiveKind::kAllReduce || kind == CollectiveKind::kReduceScatter;
}

// The share that a member sums, cut where 16 bytes end for all_reduce.
Transfer ShareOf(const CollectiveCall& call, int members, int member) {
  if (call.kind == CollectiveKind::kReduceScatter) {
    const int64_t begin =
        std::accumulate(call.counts.begin(), call.counts.begin() + member, int64_t{0});
    return {begin, call.counts[member], 0};
  }
  const int64_t vector = 16 / SizeOf(call.dtype);
  const int64_t vectors = (call.counts[0] + vector - 1) / vector;
  const int64_t length = (vectors + members - 1) / members * vector;
  const int64_t begin = std::min(member * length, call.counts[0]);
  return {begin, std::min(length, call.counts[0] - begin), begin};
}

// What a member sends to another one, or to itself, of its own data.
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
      return ShareOf(call, members, to);
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

int64_t LinesOfOneMember(const CollectiveCall& call, int members, PeerAlgorithm algorithm) {
  int64_t most = 1;
  for (int from = 0; from < members; ++from) {
    for (int to = 0; to < members; ++to) {
      const Transfer transfer = algorithm == PeerAlgorithm::kTwoSteps
                                    ? ShareOf(call, members, to)
                                    : Between(call, members, from, to);
      most = std::max(most, transfer.count);
    }
  }
  return (most * SizeOf(call.dtype) + kLineData - 1) / kLineData;
}

int RoundsOf(PeerAlgorithm algorithm) { return algorithm == PeerAlgorithm::kTwoSteps ? 2 : 1; }

// What a member sends to all others, at the most.
int64_t MostSent(const CollectiveCall& call, int members, PeerAlgorithm algorithm) {
  int64_t most = 0;
  for (int i = 0; i < members; ++i) most = std::max(most, BytesSent(call, members, i, algorithm));
  return most;
}

// Of what a member sends, where one way becomes faster than the next one, with two H200 and with
// four (docs/performance.md). What is written takes multiprocessors from a product beside it:
// copies are slower alone, and a step with them is faster.
constexpr int64_t kMostDirectAllReduce = int64_t{320} << 10;
constexpr int64_t kMostInTwoSteps = int64_t{768} << 10;
constexpr int64_t kMostDirect = int64_t{768} << 10;
constexpr int64_t kMostWritten = int64_t{6} << 20;

PeerAlgorithm ChooseByMeasurement(const CollectiveCall& call, int members) {
  const int64_t direct = MostSent(call, members, PeerAlgorithm::kDirect);
  if (call.kind == CollectiveKind::kAllReduce) {
    if (direct <= kMostDirectAllReduce) return PeerAlgorithm::kDirect;
    const int64_t in_two_steps = MostSent(call, members, PeerAlgorithm::kTwoSteps);
    return in_two_steps <= kMostInTwoSteps ? PeerAlgorithm::kTwoSteps : PeerAlgorithm::kShares;
  }
  if (direct <= kMostDirect) return PeerAlgorithm::kDirect;
  if (call.kind == CollectiveKind::kReduceScatter) return PeerAlgorithm::kShares;
  const bool is_turn = TurnOf(call, members) != 0;  // which goes beside products
  return direct <= kMostWritten && !is_turn ? PeerAlgorithm::kWrites : PeerAlgorithm::kCopies;
}

}  // namespace

std::string_view Name(PeerAlgorithm algorithm) {
  constexpr std::string_view kNames[] = {"peer direct", "peer two steps", "peer writes",
                                         "peer copies", "peer shares"};
  return kNames[static_cast<int>(algorithm)];
}

bool HasForm(CollectiveKind kind, PeerAlgorithm algorithm) {
  switch (algorithm) {
    case PeerAlgorithm::kDirect:
      return kind != CollectiveKind::kBarrier;
    case PeerAlgorithm::kTwoSteps:
      return kind == CollectiveKind::kAllReduce;
    case PeerAlgorithm::kWrites:
    case PeerAlgorithm::kCopies:
      return !Reduces(kind) && kind != CollectiveKind::kBarrier;
    case PeerAlgorithm::kShares:
      return Reduces(kind);
  }
  LOG(FATAL) << "no such algorithm: " << static_cast<int>(algorithm);
  return false;
}

PeerAlgorithm ChoosePeerAlgorithm(const CollectiveCall& call, int members, Peers peers) {
  switch (peers) {
    case Peers::kDirect:
      return PeerAlgorithm::kDirect;
    case Peers::kMedium:
      if (call.kind == CollectiveKind::kAllReduce) return PeerAlgorithm::kTwoSteps;
      return Reduces(call.kind) ? PeerAlgorithm::kShares : PeerAlgorithm::kWrites;
    case Peers::kBulk:
      return Reduces(call.kind) ? PeerAlgorithm::kShares : PeerAlgorithm::kCopies;
    case Peers::kAuto:
    case Peers::kNever:
      break;
  }
  return ChooseByMeasurement(call, members);
}

int64_t LeastCopied(Peers peers) {
  switch (peers) {
    case Peers::kBulk:
      return 1;
    case Peers::kAuto:
      return kMostWritten + 1;
    case Peers::kDirect:
    case Peers::kMedium:
    case Peers::kNever:
      break;
  }
  return 0;
}

int64_t PeerCollective::ScratchBytes(const CollectiveCall& call, int members,
                                     PeerAlgorithm algorithm) {
  const bool lines = algorithm == PeerAlgorithm::kDirect || algorithm == PeerAlgorithm::kTwoSteps;
  const int64_t inbox =
      2 * RoundsOf(algorithm) * members * LinesOfOneMember(call, members, algorithm) * kLineBytes;
  return static_cast<int64_t>(sizeof(PeerState)) + (lines ? inbox : 0);
}

PeerCollective::PeerCollective(CollectiveCall call, PeerAlgorithm algorithm, int me,
                               const std::vector<PeerMember>& members, const unsigned* stop,
                               bool shares_gpus)
    : call_(std::move(call)), algorithm_(algorithm), members_(members) {
  const int count = static_cast<int>(members.size());
  CHECK(count >= 2 && count <= kMostPeers) << count;
  CHECK(HasForm(call_.kind, algorithm)) << Name(algorithm) << " for " << ToString(call_);
  static_assert(sizeof(PeerState) % kLineBytes == 0);
  Meeting meeting{count, me, {}, stop};
  for (int i = 0; i < count; ++i) {
    meeting.states[i] = reinterpret_cast<PeerState*>(members[i].scratch);
  }
  turn_ = TurnOf(call_, count);
  if (shares_gpus) exchange_.most_blocks = kMostPeerBlocks;
  switch (algorithm) {
    case PeerAlgorithm::kDirect:
    case PeerAlgorithm::kTwoSteps:
      PlanExchange(meeting);
      break;
    case PeerAlgorithm::kWrites:
    case PeerAlgorithm::kCopies:
      PlanWrites(meeting);
      break;
    case PeerAlgorithm::kShares:
      PlanShare(meeting);
      break;
  }
}

void PeerCollective::PlanExchange(const Meeting& meeting) {
  exchange_.meeting = meeting;
  exchange_.rounds = RoundsOf(algorithm_);
  exchange_.lines = LinesOfOneMember(call_, meeting.members, algorithm_);
  exchange_.send = members_[meeting.me].send;
  exchange_.receive = members_[meeting.me].receive;
  exchange_.reduces = Reduces(call_.kind);
  exchange_.reduction = call_.reduction;
  for (int i = 0; i < meeting.members; ++i) {
    exchange_.inboxes[i] = members_[i].scratch + sizeof(PeerState);
    if (algorithm_ == PeerAlgorithm::kTwoSteps) {
      exchange_.to[i] = exchange_.from[i] = ShareOf(call_, meeting.members, i);
    } else {
      exchange_.to[i] = Between(call_, meeting.members, meeting.me, i);
      exchange_.from[i] = Between(call_, meeting.members, i, meeting.me);
    }
  }
}

void PeerCollective::PlanShare(const Meeting& meeting) {
  const Transfer share = ShareOf(call_, meeting.members, meeting.me);
  const int64_t width = SizeOf(call_.dtype);
  share_.meeting = meeting;
  share_.count = share.count;
  share_.reduction = call_.reduction;
  for (int i = 0; i < meeting.members; ++i) {
    share_.sends[i] = members_[i].send + share.send_from * width;
  }
  const int receivers = call_.kind == CollectiveKind::kAllReduce ? meeting.members : 1;
  for (int k = 0; k < receivers; ++k) {
    const int i = (meeting.me + k) % meeting.members;  // no two members write to one at a time
    share_.receives[share_.receivers++] = members_[i].receive + share.receive_at * width;
  }
}

void PeerCollective::PlanWrites(const Meeting& meeting) {
  const int64_t width = SizeOf(call_.dtype);
  writes_.meeting = meeting;
  for (int k = 0; k < meeting.members; ++k) {
    const int other = (meeting.me + 1 + k) % meeting.members;  // this member comes last
    const Transfer transfer = Between(call_, meeting.members, meeting.me, other);
    const char* from = members_[meeting.me].send + transfer.send_from * width;
    char* to = members_[other].receive + transfer.receive_at * width;
    if (transfer.count == 0 || from == to) continue;
    writes_.part[writes_.parts++] = {from, to, transfer.count * width};
  }
}

Status PeerCollective::Enqueue(cudaStream_t stream, cudaEvent_t begun) const {
  switch (algorithm_) {
    case PeerAlgorithm::kDirect:
    case PeerAlgorithm::kTwoSteps:
      return FromCuda(EnqueueExchange(exchange_, call_.dtype, stream), "peer exchange");
    case PeerAlgorithm::kWrites:
      return FromCuda(EnqueueWrites(writes_, stream, begun), "peer writes");
    case PeerAlgorithm::kCopies:
      return EnqueueCopies(stream, begun);
    case PeerAlgorithm::kShares:
      return FromCuda(EnqueueShareSum(share_, call_.dtype, stream, begun), "peer sum of shares");
  }
  LOG(FATAL) << "no such algorithm: " << static_cast<int>(algorithm_);
  return OkStatus();
}

Status PeerCollective::EnqueueCopies(cudaStream_t stream, cudaEvent_t begun) const {
  const Meeting& meeting = writes_.meeting;
  TP_RETURN_IF_ERROR(FromCuda(EnqueueMeeting(meeting, MeetTo::kBegin, stream), "peer meeting"));
  if (begun != nullptr) TP_CUDA(cudaEventRecord(begun, stream));
  TP_RETURN_IF_ERROR(SendTurn(stream));
  return FromCuda(EnqueueMeeting(meeting, MeetTo::kEnd, stream), "peer meeting");
}

Status PeerCollective::MeetBeforeTurn(cudaStream_t stream, cudaEvent_t begun) const {
  TP_RETURN_IF_ERROR(
      FromCuda(EnqueueMeeting(writes_.meeting, MeetTo::kEnd, stream), "peer meeting"));
  if (begun != nullptr) TP_CUDA(cudaEventRecord(begun, stream));
  return OkStatus();
}

Status PeerCollective::SendTurn(cudaStream_t stream) const {
  for (int i = 0; i < writes_.parts; ++i) {
    const Part& part = writes_.part[i];
    TP_CUDA(cudaMemcpyAsync(part.to, part.from, part.bytes, cudaMemcpyDefault, stream));
  }
  return OkStatus();
}

Status PeerCollective::TellOfTurn(const unsigned* step, cudaStream_t stream) const {
  const Meeting& meeting = writes_.meeting;
  PeerState* const receiver = meeting.states[(meeting.me + turn_) % meeting.members];
  return FromCuda(cudaMemcpyAsync(&receiver->told[meeting.me], step, sizeof(unsigned),
                                  cudaMemcpyDefault, stream),
                  "telling of a turn");
}

const unsigned* PeerCollective::told() const {
  const Meeting& meeting = writes_.meeting;
  return &meeting.states[meeting.me]
              ->told[(meeting.me + meeting.members - turn_) % meeting.members];
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
  const bool shares = algorithm == PeerAlgorithm::kShares || algorithm == PeerAlgorithm::kTwoSteps;
  int64_t elements = 0;
  for (int i = 0; i < members; ++i) {
    if (i == index) continue;
    // Their share goes, or is fetched, there; all_reduce hands them this one's sum besides.
    elements += shares ? ShareOf(call, members, i).count : Between(call, members, index, i).count;
    if (shares && call.kind == CollectiveKind::kAllReduce) {
      elements += ShareOf(call, members, index).count;
    }
  }
  return elements * SizeOf(call.dtype);
}

}  // namespace tp::nccl
