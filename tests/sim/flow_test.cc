#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <random>

#include "sim/clock/event_queue.h"
#include "sim/clock/virtual_clock.h"
#include "sim/flow/flow_network.h"
#include "tests/sim/random_flows.h"

namespace tp::sim {
namespace {

constexpr Picos kMicro = 1'000'000;

std::vector<FlowUse> On(std::initializer_list<ResourceId> resources) {
  std::vector<FlowUse> uses;
  for (ResourceId id : resources) uses.push_back({id, 1});
  return uses;
}

// When each flow ends, by its number.
std::map<int64_t, Picos> RunOut(FlowNetwork& network) {
  std::map<int64_t, Picos> ends;
  while (true) {
    const Picos end = network.NextEnd();
    if (end == kNever) return ends;
    while (const auto ended = network.PopEnd(end)) ends[ended->number] = end;
  }
}

TEST(VirtualClockTest, TellsWholeNanosecondsOfWhatIsPredicted) {
  VirtualClock clock;
  clock.AdvanceTo(1999);
  EXPECT_EQ(clock.NowNs(), 1);
  clock.AdvanceTo(2000);
  EXPECT_EQ(clock.NowNs(), 2);
  EXPECT_EQ(clock.kind(), ClockKind::kPredicted);
  EXPECT_DEATH(clock.AdvanceTo(1999), "does not go back");
}

TEST(DurationTest, RoundsUpToAPicosecond) {
  EXPECT_EQ(DurationOf(0, 1e9), 0);
  EXPECT_EQ(DurationOf(1, 1e9), 1000);
  EXPECT_EQ(DurationOf(1, 3e12), 1);
  EXPECT_EQ(DurationOf(1e6, 50e9), 20 * kMicro);
  // Exact in the reals, but 0.1 is not in a double: no picosecond is added for that.
  EXPECT_EQ(DurationOf(0.1, 0.1), 1'000'000'000'000);
  EXPECT_EQ(DurationOf(1e9, 1e-9), kNever);
}

TEST(EventQueueTest, OrdersByTimeThenRankThenNumber) {
  EventQueue queue;
  for (const Event& event : {Event{2, 0, 0, 4}, Event{1, 1, 0, 3}, Event{1, 0, 7, 2},
                             Event{1, 0, 3, 1}, Event{0, 9, 9, 0}}) {
    queue.Push(event);
  }
  for (int64_t i = 0; i < 5; ++i) {
    EXPECT_EQ(queue.top().what, i);
    queue.Pop();
  }
  EXPECT_TRUE(queue.empty());
}

TEST(FlowNetworkTest, AFlowAloneGoesAtTheLeastOfItsResources) {
  FlowNetwork network;
  const ResourceId fast = network.AddResource(100e9), slow = network.AddResource(50e9);
  network.Start(0, {.amount = 1e6}, On({fast, slow}));
  EXPECT_EQ(network.NextEnd(), 20 * kMicro);
}

TEST(FlowNetworkTest, TwoShareAndTheOneThatIsLeftHasAll) {
  FlowNetwork network;
  const ResourceId link = network.AddResource(100e9);
  network.Start(0, {.amount = 1e6, .number = 0}, On({link}));
  network.Start(0, {.amount = 3e6, .number = 1}, On({link}));
  // At 50 each until 20 us; then 2 MB are left, at 100: 20 us more.
  const auto ends = RunOut(network);
  EXPECT_EQ(ends.at(0), 20 * kMicro);
  EXPECT_EQ(ends.at(1), 40 * kMicro);
}

TEST(FlowNetworkTest, WhoComesLaterSlowsWhoIsThere) {
  FlowNetwork network;
  const ResourceId link = network.AddResource(100e9);
  network.Start(0, {.amount = 2e6, .number = 0}, On({link}));
  EXPECT_EQ(network.NextEnd(), 20 * kMicro);
  network.Start(10 * kMicro, {.amount = 1e6, .number = 1}, On({link}));
  // Each has 1 MB to go at 50.
  const auto ends = RunOut(network);
  EXPECT_EQ(ends.at(0), 30 * kMicro);
  EXPECT_EQ(ends.at(1), 30 * kMicro);
}

// The classical line of links: a long flow and one on each link. The short one on the wide link
// gets what the long one, held up elsewhere, leaves.
TEST(FlowNetworkTest, WhatOneCannotUseAnotherGets) {
  FlowNetwork network;
  const ResourceId narrow = network.AddResource(10e9), wide = network.AddResource(30e9);
  const FlowId across = network.Start(0, {.amount = 1e6}, On({narrow, wide}));
  const FlowId on_narrow = network.Start(0, {.amount = 1e6}, On({narrow}));
  const FlowId on_wide = network.Start(0, {.amount = 1e6}, On({wide}));
  EXPECT_EQ(network.RateOf(across), 5e9);
  EXPECT_EQ(network.RateOf(on_narrow), 5e9);
  EXPECT_EQ(network.RateOf(on_wide), 25e9);
}

TEST(FlowNetworkTest, LimitsAndSharesHold) {
  FlowNetwork network;
  const ResourceId link = network.AddResource(100e9);
  const FlowId limited = network.Start(0, {.amount = 1e6, .limit = 10e9}, On({link}));
  const FlowId one = network.Start(0, {.amount = 1e6, .share = 1}, On({link}));
  const FlowId two = network.Start(0, {.amount = 1e6, .share = 2}, On({link}));
  EXPECT_EQ(network.RateOf(limited), 10e9);
  EXPECT_EQ(network.RateOf(one), 30e9);
  EXPECT_EQ(network.RateOf(two), 60e9);
  const FlowId lone = network.Start(0, {.amount = 1e6, .limit = 1e9}, {});
  EXPECT_EQ(network.RateOf(lone), 1e9);
}

// A kernel that alone takes a microsecond and 80 % of the memory's bytes, beside another such one:
// both want 160 %, and take 1.6 times as long.
TEST(FlowNetworkTest, KernelsThatWantTheSameMemorySlowEachOther) {
  FlowNetwork network;
  const ResourceId memory = network.AddResource(1e12);
  const FlowUse use = {memory, 0.8e12};
  network.Start(0, {.amount = 1e-6, .limit = 1, .number = 0}, {{use}});
  network.Start(0, {.amount = 1e-6, .limit = 1, .number = 1}, {{use}});
  const auto ends = RunOut(network);
  EXPECT_NEAR(static_cast<double>(ends.at(0)), 1.6e6, 1);
  EXPECT_EQ(ends.at(0), ends.at(1));
}

TEST(FlowNetworkTest, EndsAtOneTimeComeByRankThenNumber) {
  FlowNetwork network;
  const ResourceId link = network.AddResource(1e9);
  for (int i = 5; i >= 0; --i) {
    network.Start(0, {.amount = 1e3, .rank = i / 2, .number = i % 2}, On({link}));
  }
  const Picos end = network.NextEnd();
  for (int i = 0; i < 6; ++i) {
    const auto ended = network.PopEnd(end);
    ASSERT_TRUE(ended);
    EXPECT_EQ(ended->rank * 2 + ended->number, i);
  }
  EXPECT_FALSE(network.PopEnd(end));
}

// By the definition: nothing is overused; and who could go faster is held up on a resource that is
// full, by nobody who has more than itself.
void ExpectMaxMinFair(FlowNetwork& network, const FlowSet& set, const std::vector<FlowId>& ids) {
  std::vector<double> used(set.resources.size()), most(set.resources.size());
  int terms = 1;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0) continue;
    ++terms;
    for (const FlowUse& use : set.flows[i].uses) {
      used[use.resource] += network.RateOf(ids[i]) * use.per_unit;
      most[use.resource] =
          std::max(most[use.resource], network.RateOf(ids[i]) / set.flows[i].flow.share);
    }
  }
  // Each flow that has its rate rounds what is left, what still weighs, and the sum here.
  const double slack = 4.0 * terms * std::numeric_limits<double>::epsilon();
  for (size_t r = 0; r < used.size(); ++r) EXPECT_LE(used[r], set.resources[r] * (1 + slack));
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0) continue;
    const Flow& flow = set.flows[i].flow;
    const double rate = network.RateOf(ids[i]);
    EXPECT_LE(rate, flow.limit);
    const bool held_up =
        std::any_of(set.flows[i].uses.begin(), set.flows[i].uses.end(), [&](const FlowUse& use) {
          return used[use.resource] >= set.resources[use.resource] * (1 - slack) &&
                 rate / flow.share >= most[use.resource] * (1 - slack);
        });
    EXPECT_TRUE(rate == flow.limit || held_up) << "flow " << i << " could go faster";
  }
}

TEST(FlowNetworkTest, RatesAreMaxMinFair) {
  std::mt19937_64 random(1);
  for (int trial = 0; trial < 1000; ++trial) {
    RunFlowSet(MakeFlowSet(random, trial % 2 == 0), ExpectMaxMinFair);
    if (HasFailure()) FAIL() << "trial " << trial;
  }
}

// What flows have done is what was asked for: their rates, over the times between changes, add up
// to the amount, but for what rounding to a picosecond adds at each change.
TEST(FlowNetworkTest, NothingIsLostAndNothingIsMade) {
  std::mt19937_64 random(2);
  for (int trial = 0; trial < 300; ++trial) {
    const FlowSet set = MakeFlowSet(random, trial % 2 == 0);
    FlowNetwork network;
    for (double per_second : set.resources) network.AddResource(per_second);
    std::vector<FlowId> ids(set.flows.size(), -1);
    std::vector<double> done(set.flows.size()), fastest(set.flows.size());
    std::vector<int> changes(set.flows.size());
    size_t next = 0;
    Picos now = 0;
    while (true) {
      const Picos begin = next < set.flows.size() ? set.flows[next].begin : kNever;
      const Picos then = std::min(begin, network.NextEnd());
      if (then == kNever) break;
      for (size_t i = 0; i < ids.size(); ++i) {
        if (ids[i] < 0) continue;
        const double rate = network.RateOf(ids[i]);
        done[i] += rate * (static_cast<double>(then - now) / kPicosPerSecond);
        fastest[i] = std::max(fastest[i], rate);
        ++changes[i];
      }
      now = then;
      while (const auto ended = network.PopEnd(now)) {
        const int64_t i = ended->number;
        ids[i] = -1;
        const double amount = set.flows[i].flow.amount;
        const double roundings = 4.0 * (changes[i] + 1) * std::numeric_limits<double>::epsilon();
        EXPECT_GE(done[i], amount * (1 - roundings));
        EXPECT_LE(done[i], amount * (1 + roundings) + fastest[i] / kPicosPerSecond);
      }
      for (; next < set.flows.size() && set.flows[next].begin == now; ++next) {
        ids[next] = network.Start(now, set.flows[next].flow, set.flows[next].uses);
      }
    }
    for (FlowId id : ids) EXPECT_EQ(id, -1);
  }
}

TEST(FlowNetworkTest, TheSameFlowsEndAtTheSameTimes) {
  for (int trial = 0; trial < 20; ++trial) {
    std::mt19937_64 one(trial), two(trial);
    EXPECT_EQ(RunFlowSet(MakeFlowSet(one, false)), RunFlowSet(MakeFlowSet(two, false)));
  }
}

TEST(FlowNetworkTest, RefusesWhatHasNoRate) {
  FlowNetwork network;
  EXPECT_DEATH(network.AddResource(0), "per_second");
  EXPECT_DEATH(network.Start(0, {.amount = 1}, {}), "must use a resource");
}

}  // namespace
}  // namespace tp::sim
