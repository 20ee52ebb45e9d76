#include "sim/timed/closed_form.h"

#include <glog/logging.h>

#include <algorithm>
#include <bit>
#include <unordered_map>

#include "tp/core/dtype.h"

namespace tp::sim {
namespace {

// Halving, or doubling: log2(P) messages, of 1/2, 1/4, ... 1/P of the array.
double Halving(double bytes, int members, const LinkCost& link) {
  double time = 0;
  for (int parts = 2; parts <= members; parts *= 2) time += link.Of(bytes / parts);
  return time;
}

// In how many pieces a broadcast along the ring is cut, by what is recorded of its root.
double PiecesOf(const CollectiveCall& call, int members) {
  return static_cast<double>(Record(call, Algorithm::kRing, members)[call.root].size());
}

}  // namespace

std::optional<double> Formula(const CollectiveCall& call, Algorithm algorithm, int members,
                              const LinkCost& link) {
  if (members == 1) return 0;
  const auto bytes = static_cast<double>(TotalElements(call) * SizeOf(call.dtype));
  const double block = bytes / members;
  const double steps = members - 1;
  const bool ring = algorithm == Algorithm::kRing;
  const bool direct = algorithm == Algorithm::kDirect;
  const auto core = static_cast<int>(std::bit_floor(static_cast<unsigned>(members)));
  switch (call.kind) {
    case CollectiveKind::kAllReduce:
      if (ring) return 2 * steps * link.Of(block);
      if (direct) return 2 * link.Of(block);
      if (algorithm == Algorithm::kTree) return std::nullopt;
      return 2 * Halving(bytes, core, link) + (core < members ? 2 * link.Of(bytes) : 0);
    case CollectiveKind::kAllGather:
    case CollectiveKind::kReduceScatter:
      if (ring) return steps * link.Of(block);
      if (direct) return link.Of(block);
      if (core < members) return std::nullopt;
      return Halving(bytes, core, link);
    case CollectiveKind::kBroadcast: {
      if (direct) return link.Of(bytes);
      if (!ring) return std::nullopt;
      const double pieces = PiecesOf(call, members);
      return steps * link.Of(bytes / pieces) + (pieces - 1) * link.Leaves(bytes / pieces);
    }
    case CollectiveKind::kAllToAll:
      return steps * link.Of(block / members);
    case CollectiveKind::kBarrier:
      return std::bit_width(static_cast<unsigned>(members - 1)) * link.Of(0);
  }
  LOG(FATAL) << "no such collective: " << static_cast<int>(call.kind);
}

double LongestPath(const std::vector<std::vector<Touch>>& touches,
                   const std::function<LinkCost(int, int)>& link_of) {
  const size_t members = touches.size();
  struct Channel {
    std::optional<LinkCost> link;
    std::vector<double> there;  // when each message is
    size_t read = 0;
    double free = 0;  // when the last one left
  };
  std::unordered_map<size_t, Channel> channels;
  std::vector<size_t> next(members);
  std::vector<double> at(members);
  double last = 0;
  bool moved = true;
  size_t ended = 0;
  while (moved && ended < members) {
    moved = false;
    for (size_t m = 0; m < members; ++m) {
      const std::vector<Touch>& list = touches[m];
      for (; next[m] < list.size(); ++next[m]) {
        const Touch& touch = list[next[m]];
        if (touch.kind == Touch::Kind::kSend) {
          Channel& channel = channels[m * members + touch.peer];
          if (!channel.link) channel.link = link_of(static_cast<int>(m), touch.peer);
          const auto bytes = static_cast<double>(touch.bytes);
          channel.free = std::max(channel.free, at[m]) + channel.link->Leaves(bytes);
          channel.there.push_back(channel.free + channel.link->latency_ps);
        } else if (touch.peer >= 0) {
          Channel& channel = channels[touch.peer * members + m];
          if (channel.read == channel.there.size()) break;
          at[m] = std::max(at[m], channel.there[channel.read++]);
        }
        moved = true;
        if (next[m] + 1 == list.size()) ++ended;
      }
      last = std::max(last, at[m]);
    }
  }
  for (size_t m = 0; m < members; ++m) {
    CHECK_EQ(next[m], touches[m].size()) << "a member waits for ever";
  }
  return last;
}

double LongestPath(const std::vector<std::vector<Touch>>& touches, const LinkCost& link) {
  return LongestPath(touches, [&](int, int) { return link; });
}

}  // namespace tp::sim
