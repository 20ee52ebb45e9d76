#include "sim/collectives/communicator.h"

#include <glog/logging.h>

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "sim/collectives/exchange.h"
#include "sim/fabric/scheduler.h"
#include "tp/core/dtype.h"

namespace tp::sim {
namespace {

size_t CountsOf(CollectiveKind kind, int members) {
  switch (kind) {
    case CollectiveKind::kAllReduce:
    case CollectiveKind::kBroadcast:
      return 1;
    case CollectiveKind::kAllGather:
    case CollectiveKind::kReduceScatter:
      return members;
    case CollectiveKind::kAllToAll:
      return static_cast<size_t>(members) * members;
    case CollectiveKind::kBarrier:
      return 0;
  }
  LOG(FATAL) << "no such collective: " << static_cast<int>(kind);
}

Status Check(const CollectiveCall& call, int members) {
  const auto who = [&] {
    return std::string(Name(call.kind)) + " among " + std::to_string(members) + ": ";
  };
  const size_t expected = CountsOf(call.kind, members);
  if (call.counts.size() != expected) {
    return InvalidArgument(who() + "it takes " + std::to_string(expected) + " counts, not " +
                           std::to_string(call.counts.size()));
  }
  int64_t left = std::numeric_limits<int64_t>::max() / 64;  // so that byte counts stay in range
  for (int64_t count : call.counts) {
    if (count < 0 || count > left) {
      return InvalidArgument(who() + std::to_string(count) + " elements cannot be");
    }
    left -= count;
  }
  if (call.kind == CollectiveKind::kBroadcast && (call.root < 0 || call.root >= members)) {
    return InvalidArgument(who() + "root " + std::to_string(call.root) + " is no member");
  }
  return OkStatus();
}

// FNV-1a over all that members must say alike, a word at a time.
uint64_t HashOf(const CollectiveCall& call, Algorithm algorithm) {
  uint64_t hash = 0xcbf29ce484222325u;
  const auto add = [&hash](uint64_t word) {
    hash = (hash ^ word) * 0x100000001b3u;
    hash ^= hash >> 32;
  };
  add(static_cast<uint64_t>(call.kind));
  add(static_cast<uint64_t>(call.dtype));
  add(static_cast<uint64_t>(call.reduction));
  add(static_cast<uint64_t>(call.root));
  add(static_cast<uint64_t>(algorithm));
  for (int64_t count : call.counts) add(static_cast<uint64_t>(count));
  return hash;
}

std::string Describe(int rank, const Seat::Card& card) {
  return "rank " + std::to_string(rank) + " calls " + ToString(card.call) + " by " + card.algorithm;
}

}  // namespace

int64_t Communicator::ExpectedBytesSent(const CollectiveCall& call, Algorithm, int members) {
  return MinimalElementsSent(call, members) * SizeOf(call.dtype);
}

StatusOr<std::unique_ptr<Communicator>> Communicator::Create(Fabric& fabric,
                                                             const std::vector<int>& ranks,
                                                             int my_rank, uint64_t group_id) {
  TP_ASSIGN_OR_RETURN(std::shared_ptr<Group> group, fabric.Join(group_id, ranks, my_rank));
  const auto place = std::find(ranks.begin(), ranks.end(), my_rank);
  return std::unique_ptr<Communicator>(
      new Communicator(fabric, std::move(group), my_rank, static_cast<int>(place - ranks.begin())));
}

Communicator::Communicator(Fabric& fabric, std::shared_ptr<Group> group, int rank, int member)
    : fabric_(fabric),
      group_(std::move(group)),
      rank_(rank),
      endpoint_(fabric.MakeEndpoint(group_, member)) {
  offsets_.reserve(members() + 1);
}

Communicator::~Communicator() { fabric_.Leave(*group_, rank_); }

void Communicator::Share(std::shared_ptr<const void> memory) {
  group_->seats[member()].memory = std::move(memory);
}

Status Communicator::Prepare(const CollectiveCall& call, Algorithm algorithm) {
  TP_RETURN_IF_ERROR(Check(call, members()));
  const Algorithm resolved = Resolve(call, algorithm);
  const int64_t bytes = ScratchBytes(call, resolved, member(), members());
  Seat& mine = group_->seats[member()];
  if (bytes > mine.scratch_bytes) {
    mine.scratch = std::make_unique_for_overwrite<std::byte[]>(bytes);
    mine.scratch_bytes = bytes;
  }
  if (call.counts.size() > reserved_counts_) {
    for (Seat::Card& card : mine.cards) card.call.counts.reserve(call.counts.size());
    reserved_counts_ = call.counts.size();
  }
  return OkStatus();
}

Status Communicator::Run(const CollectiveCall& call, Algorithm algorithm, const void* in,
                         void* out) {
  const int64_t sent_before = endpoint_->bytes_sent();
  TP_RETURN_IF_ERROR(Prepare(call, algorithm));
  const Algorithm resolved = Resolve(call, algorithm);
  TP_RETURN_IF_ERROR(Handshake(call, resolved));
  const auto* source = static_cast<const std::byte*>(in);
  auto* target = static_cast<std::byte*>(out);
  if (members() == 1) {
    RunAlone(call, source, target);
    last_bytes_sent_ = 0;
    return OkStatus();
  }
  BlockOffsets(call, offsets_);
  const Exchange exchange = {.endpoint = *endpoint_,
                             .call = call,
                             .offsets = offsets_,
                             .in = source,
                             .out = target,
                             .scratch = group_->seats[member()].scratch.get()};
  Status status = Carry(exchange, resolved);
  if (status.ok()) status = endpoint_->Flush();
  last_bytes_sent_ = endpoint_->bytes_sent() - sent_before;
  return status.ok() ? status : status.WithContext(ToString(call));
}

Status Communicator::Handshake(const CollectiveCall& call, Algorithm algorithm) {
  Seat& mine = group_->seats[member()];
  const uint64_t number = mine.calls.value() + 1;
  Seat::Card& card = mine.cards[number % 2];
  card.call = call;  // into memory that Prepare reserved
  card.algorithm = Name(algorithm);
  card.hash = HashOf(call, algorithm);
  Scheduler& scheduler = fabric_.scheduler();
  scheduler.Raise(mine.calls, number);
  bool equal = true;
  for (int other = 0; other < members(); ++other) {
    Seat& seat = group_->seats[other];
    if (seat.calls.value() < number) {
      const WaitReason reason = {
          .what = "its arrival", .rank = rank_, .peer = group_->ranks[other], .call = &call};
      if (Status status = scheduler.Await(seat.calls, number, reason); !status.ok()) {
        // Where those who did come differ already, that is the better explanation.
        TP_RETURN_IF_ERROR(FindMismatch(number));
        return status;
      }
    }
    equal = equal && seat.cards[number % 2].hash == card.hash;
  }
  return equal ? OkStatus() : FindMismatch(number);
}

// Compares the calls of those who have shown call `number` with that of the first of them.
Status Communicator::FindMismatch(uint64_t number) const {
  int first = -1;
  for (int other = 0; other < members(); ++other) {
    const Seat& seat = group_->seats[other];
    if (seat.calls.value() < number) continue;
    const Seat::Card& card = seat.cards[number % 2];
    if (first < 0) first = other;
    const Seat::Card& reference = group_->seats[first].cards[number % 2];
    if (card.hash == reference.hash) continue;
    std::string text =
        "members of a group make different calls: " + Describe(group_->ranks[first], reference) +
        ", " + Describe(group_->ranks[other], card);
    const size_t counts = std::min(card.call.counts.size(), reference.call.counts.size());
    for (size_t i = 0; i < counts; ++i) {
      if (card.call.counts[i] == reference.call.counts[i]) continue;
      text += "; their counts differ first at number " + std::to_string(i) + ": " +
              std::to_string(reference.call.counts[i]) + " and " +
              std::to_string(card.call.counts[i]);
      break;
    }
    return InvalidArgument(text);
  }
  return OkStatus();
}

void Communicator::RunAlone(const CollectiveCall& call, const std::byte* in, std::byte* out) const {
  const auto bytes = static_cast<size_t>(TotalElements(call) * SizeOf(call.dtype));
  endpoint_->Copy(in, {out, bytes});
}

}  // namespace tp::sim
