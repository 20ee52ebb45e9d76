#include "sim/timed/timed_collective.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "sim/collectives/communicator.h"
#include "sim/timed/closed_form.h"
#include "tp/core/dtype.h"
#include "tp/core/shard_geometry.h"

namespace tp::sim {
namespace {

constexpr double kLatencyUs = 3;
constexpr double kBytesPerSecond = 1e9;
constexpr LinkCost kLink = {kLatencyUs * 1e6, kBytesPerSecond};
constexpr CollectiveKind kKinds[] = {CollectiveKind::kAllReduce,     CollectiveKind::kAllGather,
                                     CollectiveKind::kReduceScatter, CollectiveKind::kBroadcast,
                                     CollectiveKind::kAllToAll,      CollectiveKind::kBarrier};

Machine MakeMachine(WithinSpec::Kind kind, int devices) {
  Machine machine;
  machine.devices_per_node = devices;
  machine.within = {kind, kBytesPerSecond, kLatencyUs, false};
  return machine;
}

std::vector<int> AllOf(int devices) {
  std::vector<int> all(devices);
  std::iota(all.begin(), all.end(), 0);
  return all;
}

// Of an array of `elements`; where blocks have counts, cut as shards are.
CollectiveCall MakeCall(CollectiveKind kind, int members, int64_t elements) {
  CollectiveCall call = {.kind = kind, .dtype = DType::kFloat32, .counts = {}};
  if (kind == CollectiveKind::kAllReduce || kind == CollectiveKind::kBroadcast) {
    call.counts = {elements};
  } else if (kind == CollectiveKind::kAllToAll) {
    call.counts.assign(static_cast<size_t>(members) * members, elements / members / members);
  } else if (kind != CollectiveKind::kBarrier) {
    const ShardGeometry cut(elements, members);
    for (int m = 0; m < members; ++m) call.counts.push_back(cut.Length(m));
  }
  return call;
}

std::vector<int> Members() {
  std::vector<int> members = {32, 64, 96, 128, 256, 500, 512, 1024};
  for (int p = 2; p <= 17; ++p) members.push_back(p);
  return members;
}

std::string Describe(CollectiveKind kind, Algorithm algorithm, int members) {
  return std::string(Name(kind)) + " by " + Name(algorithm) + " among " + std::to_string(members);
}

// All pairs of a thousand members are a million messages that are under way at once.
bool TooMany(CollectiveKind kind, Algorithm algorithm, int members) {
  return algorithm == Algorithm::kDirect && members > 256 && kind != CollectiveKind::kBarrier &&
         kind != CollectiveKind::kBroadcast;
}

// Without contention the time that emerges from messages is the formula's, and the longest path's,
// to 1e-9: a picosecond of rounding for each of the messages that follow each other is less.
TEST(TimedCollectiveTest, WithoutContentionItIsTheClosedForm) {
  int compared = 0;
  for (int members : Members()) {
    const Machine machine = MakeMachine(WithinSpec::Kind::kMesh, members);
    for (CollectiveKind kind : kKinds) {
      for (Algorithm algorithm : kAllAlgorithms) {
        if (!HasForm(kind, algorithm) || TooMany(kind, algorithm, members)) continue;
        // Blocks and pieces of whole elements, of a millisecond or more each.
        const int64_t elements = int64_t{members} * members * 32 * 7813;
        const CollectiveCall call = MakeCall(kind, members, elements);
        const auto touches = Record(call, algorithm, members);
        const TimedCollective timed = TimeMessages(touches, machine, AllOf(members));
        const double emergent = static_cast<double>(timed.last());
        const double path = LongestPath(touches, kLink);
        EXPECT_NEAR(emergent / path, 1, 1e-9) << Describe(kind, algorithm, members);
        if (const auto formula = Formula(call, algorithm, members, kLink)) {
          EXPECT_NEAR(emergent / *formula, 1, 1e-9) << Describe(kind, algorithm, members);
        }
        EXPECT_EQ(timed.bytes, Communicator::ExpectedBytesSent(call, algorithm, members));
        ++compared;
      }
    }
  }
  EXPECT_GT(compared, 300);
}

// Nor where some pairs share a node: each message goes over the link of its own pair.
TEST(TimedCollectiveTest, WithoutContentionItIsTheLongestPathOverNodesToo) {
  for (const auto& [per_node, nodes] : {std::pair(2, 2), {2, 4}, {4, 4}, {3, 3}, {8, 16}}) {
    Machine machine = MakeMachine(WithinSpec::Kind::kMesh, per_node);
    machine.nodes = nodes;
    machine.between = {BetweenSpec::Per::kDevice, kBytesPerSecond / 8, 2 * kLatencyUs};
    const int members = per_node * nodes;
    for (Algorithm algorithm : {Algorithm::kRing, Algorithm::kHalvingDoubling}) {
      for (CollectiveKind kind : {CollectiveKind::kAllReduce, CollectiveKind::kAllGather}) {
        // Among a number that is no power of two halving is in its own way.
        if (algorithm == Algorithm::kHalvingDoubling && per_node == 3) continue;
        const CollectiveCall call = MakeCall(kind, members, int64_t{members} * members * 32 * 7813);
        const auto touches = Record(call, algorithm, members);
        const double path = LongestPath(touches, [&](int from, int to) {
          const bool near = from / per_node == to / per_node;
          return near ? kLink : LinkCost{2 * kLink.latency_ps, kLink.bytes_per_second / 8};
        });
        const Picos emergent = TimeMessages(touches, machine, AllOf(members)).last();
        EXPECT_NEAR(static_cast<double>(emergent) / path, 1, 1e-9)
            << Describe(kind, algorithm, members);
      }
    }
  }
}

// Blocks that do not divide differ by one element: the time lies between those of arrays that do.
TEST(TimedCollectiveTest, UnevenBlocksLieBetweenEvenOnes) {
  for (int members = 2; members <= 17; ++members) {
    const Machine machine = MakeMachine(WithinSpec::Kind::kMesh, members);
    for (CollectiveKind kind : kKinds) {
      for (Algorithm algorithm : kAllAlgorithms) {
        if (!HasForm(kind, algorithm) || algorithm == Algorithm::kTree) continue;
        if (kind == CollectiveKind::kBarrier || kind == CollectiveKind::kAllToAll) continue;
        const auto time = [&](int64_t elements) {
          const CollectiveCall call = MakeCall(kind, members, elements);
          return TimeMessages(Record(call, algorithm, members), machine, AllOf(members)).last();
        };
        const int64_t even = int64_t{members} * 16 * 1000;
        EXPECT_LE(time(even), time(even + 1)) << Describe(kind, algorithm, members);
        EXPECT_LE(time(even + 1), time(even + members * 16)) << Describe(kind, algorithm, members);
      }
    }
  }
}

// Over a switch each member's own port is what direct exchange shares: P - 1 messages at once take
// as long as one after the other, and the latency once.
TEST(TimedCollectiveTest, DirectExchangeSharesThePort) {
  for (int members : {2, 3, 8, 64}) {
    const Machine machine = MakeMachine(WithinSpec::Kind::kSwitch, members);
    const int64_t elements = int64_t{members} * 1'000'000;
    const CollectiveCall call = MakeCall(CollectiveKind::kAllGather, members, elements);
    const double port = kLink.latency_ps + (members - 1) * kLink.Leaves(4e6);
    const auto touches = Record(call, Algorithm::kDirect, members);
    const Picos emergent = TimeMessages(touches, machine, AllOf(members)).last();
    EXPECT_NEAR(static_cast<double>(emergent) / port, 1, 1e-9) << members;
  }
}

// Rings and halving send one message at a time: a switch is as good as a link for each pair.
TEST(TimedCollectiveTest, OneMessageAtATimeNeedsNoMesh) {
  for (int members : {2, 5, 8, 64}) {
    for (Algorithm algorithm : {Algorithm::kRing, Algorithm::kHalvingDoubling}) {
      if (algorithm == Algorithm::kHalvingDoubling && members == 5) continue;  // two fold into one
      const CollectiveCall call =
          MakeCall(CollectiveKind::kAllReduce, members, int64_t{members} * 64'000);
      const auto touches = Record(call, algorithm, members);
      const auto time = [&](WithinSpec::Kind kind) {
        return TimeMessages(touches, MakeMachine(kind, members), AllOf(members)).ends;
      };
      EXPECT_EQ(time(WithinSpec::Kind::kMesh), time(WithinSpec::Kind::kSwitch));
    }
  }
}

TEST(TimedCollectiveTest, WhoComesLateHoldsUpTheOthers) {
  constexpr int kMembers = 4;
  constexpr Picos kLate = 5'000'000'000;
  const Machine machine = MakeMachine(WithinSpec::Kind::kMesh, kMembers);
  const CollectiveCall call = MakeCall(CollectiveKind::kAllReduce, kMembers, 4'000'000);
  const auto touches = Record(call, Algorithm::kRing, kMembers);
  const Picos alone = TimeMessages(touches, machine, AllOf(kMembers)).last();
  const std::vector<Picos> begins = {0, 0, kLate, 0};
  const TimedCollective late = TimeMessages(touches, machine, AllOf(kMembers), begins);
  EXPECT_LE(kLate, *std::min_element(late.ends.begin(), late.ends.end()));
  EXPECT_LE(late.last(), kLate + alone);
  const std::vector<Picos> all_late(kMembers, kLate);
  EXPECT_EQ(TimeMessages(touches, machine, AllOf(kMembers), all_late).last(), kLate + alone);
}

TEST(TimedCollectiveTest, ASlowLinkSlowsTheWholeRing) {
  constexpr int kMembers = 8;
  Machine machine = MakeMachine(WithinSpec::Kind::kMesh, kMembers);
  const CollectiveCall call = MakeCall(CollectiveKind::kAllGather, kMembers, 8'000'000);
  const auto touches = Record(call, Algorithm::kRing, kMembers);
  const Picos even = TimeMessages(touches, machine, AllOf(kMembers)).last();
  machine.slow_pairs.push_back({3, 4, 0.25});
  // The 7 blocks that cross the link go one by one: 4 times as long, the latencies apart.
  const double expected = 7 * 4 * kLink.Leaves(4e6);
  const Picos slow = TimeMessages(touches, machine, AllOf(kMembers)).last();
  EXPECT_GT(slow, 3 * even);
  EXPECT_GE(static_cast<double>(slow), expected);
  EXPECT_LE(static_cast<double>(slow), expected + 7 * kLink.Of(4e6));
}

// Nothing of the array is there: the recorder's addresses fault when they are touched.
TEST(RecordTest, WritesDownWhatFitsNowhere) {
  constexpr int64_t kElements = int64_t{1} << 40;
  for (CollectiveKind kind : kKinds) {
    for (Algorithm algorithm : kAllAlgorithms) {
      if (!HasForm(kind, algorithm)) continue;
      const CollectiveCall call = MakeCall(kind, 5, kElements);
      int64_t sent = 0;
      for (const auto& member : Record(call, algorithm, 5)) {
        for (const Touch& touch : member) {
          if (touch.kind == Touch::Kind::kSend) sent += touch.bytes;
        }
      }
      EXPECT_EQ(sent, Communicator::ExpectedBytesSent(call, algorithm, 5));
    }
  }
  EXPECT_TRUE(Record(MakeCall(CollectiveKind::kAllReduce, 1, 8), Algorithm::kRing, 1)[0].empty());
}

}  // namespace
}  // namespace tp::sim
