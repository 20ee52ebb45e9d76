#include "backends/predict/replay.h"

#include <gtest/gtest.h>

#include <vector>

#include "backends/predict/fold.h"

namespace tp::predict {
namespace {

constexpr Stream kCompute = Stream::kCompute, kTalk = Stream::kCommunication;

ReplayOp Op(Stream stream, std::vector<int> waits, double seconds, double bytes = 0,
            int meeting = -1) {
  return {.stream = stream,
          .waits = std::move(waits),
          .seconds = seconds,
          .bytes = bytes,
          .meeting = meeting};
}

TEST(ReplayTest, AStreamIsOneAfterTheOtherAndWaitsHold) {
  ReplayWorld world;
  // 2 s; 1 s beside it; 1 s after both on the first stream.
  world.ranks = {{Op(kCompute, {}, 2), Op(kTalk, {}, 1), Op(kTalk, {0}, 3), Op(kCompute, {2}, 1)}};
  world.meetings = {};
  const Replayed replayed = Replay(world);
  const std::vector<OpTimes>& ops = replayed.ranks[0];
  // Both want all processors, at half speed each until the shorter one ends.
  EXPECT_EQ(ops[1].end, 2'000'000'000'000);
  EXPECT_EQ(ops[0].end, 3'000'000'000'000);
  EXPECT_EQ(ops[2].begin, ops[0].end);
  EXPECT_EQ(ops[3].begin, ops[2].end);
  EXPECT_EQ(replayed.end, 7'000'000'000'000);
  EXPECT_EQ(ReplayClosed(world), 6);
}

TEST(ReplayTest, AMeetingBeginsWhenTheLastHasCome) {
  ReplayWorld world;
  world.meetings = {{.seconds = 1, .members = 2}};
  world.ranks = {{Op(kCompute, {}, 1), Op(kTalk, {0}, 0, 0, 0)},
                 {Op(kCompute, {}, 3), Op(kTalk, {0}, 0, 0, 0), Op(kCompute, {1}, 1)}};
  const Replayed replayed = Replay(world);
  EXPECT_EQ(replayed.ranks[0][1].begin, 1'000'000'000'000);  // it waits from then on
  EXPECT_EQ(replayed.ranks[0][1].end, 4'000'000'000'000);
  EXPECT_EQ(replayed.ranks[1][1].end, 4'000'000'000'000);
  EXPECT_EQ(replayed.end, 5'000'000'000'000);
  EXPECT_EQ(ReplayClosed(world), 5);
}

// A product of a second, of all processors, beside a meeting that keeps a quarter of them: the
// product goes at 3/4; then what is left of it has all. One that fills three quarters is not
// slowed, and one that fills seven eighths a little.
TEST(ReplayTest, AMeetingKeepsItsProcessors) {
  ReplayWorld world;
  world.processors_of_meeting = 0.25;
  world.meetings = {{.seconds = 0.4, .members = 1}};
  world.ranks = {{Op(kCompute, {}, 1), Op(kTalk, {}, 0, 0, 0)}};
  const Replayed replayed = Replay(world);
  EXPECT_EQ(replayed.ranks[0][1].end, 400'000'000'000);
  EXPECT_EQ(replayed.ranks[0][0].end, 1'100'000'000'000);
  EXPECT_EQ(ReplayClosed(world), 1);
  world.ranks[0][0].processors = 0.75;
  EXPECT_EQ(Replay(world).end, 1'000'000'000'000);
  world.ranks[0][0].processors = 0.875;  // 6/7 of its speed
  EXPECT_EQ(Replay(world).end, 1'057'142'857'143);
}

TEST(ReplayTest, ACopiedMeetingKeepsNone) {
  ReplayWorld world;
  world.processors_of_meeting = 0.25;
  world.meetings = {{.seconds = 0.4, .members = 1, .copied = true}};
  world.ranks = {{Op(kCompute, {}, 1), Op(kTalk, {}, 0, 0, 0)}};
  EXPECT_EQ(Replay(world).end, 1'000'000'000'000);
}

TEST(ReplayTest, MemoryAndWhatNodesShareAreSharedToo) {
  ReplayWorld world;
  world.memory_bytes_per_second = 100;
  world.shared = {10};
  // Alone each takes a second and all of the shared port.
  world.meetings = {{.seconds = 1, .members = 1, .uses = {{0, 10}}},
                    {.seconds = 1, .members = 1, .uses = {{0, 10}}}};
  world.ranks = {{Op(kTalk, {}, 0, 50, 0)}, {Op(kTalk, {}, 0, 50, 1)}};
  EXPECT_EQ(Replay(world).end, 2'000'000'000'000);
  world.shared = {20};
  EXPECT_EQ(Replay(world).end, 1'000'000'000'000);
  // Beside a copy that wants all of the memory, a meeting that wants half of it, and has it.
  world.ranks = {{Op(kTalk, {}, 0, 50, 0), Op(kCompute, {}, 1, 100)}};
  world.meetings[1].members = 0;
  EXPECT_EQ(Replay(world).ranks[0][0].end, 1'000'000'000'000);
  EXPECT_EQ(Replay(world).ranks[0][1].end, 1'500'000'000'000);
}

TEST(ReplayTest, WhoWaitsForEverIsAMistake) {
  ReplayWorld world;
  world.meetings = {{.seconds = 1, .members = 2}};
  world.ranks = {{Op(kTalk, {}, 0, 0, 0)}};
  EXPECT_DEATH(Replay(world), "waits for ever");
  EXPECT_DEATH(ReplayClosed(world), "waits for ever");
}

TEST(FoldTest, OneRankThatDiffersTellsItsNeighboursApart) {
  // Two groups of two along one axis, two along the other.
  const std::vector<FoldGroup> groups = {
      {{0, 1}, "tp"}, {{2, 3}, "tp"}, {{0, 2}, "dp"}, {{1, 3}, "dp"}};
  EXPECT_EQ(Fold({0, 0, 0, 0}, groups, {}).representatives, (std::vector<int>{0}));
  const Folding first = Fold({0, 1, 0, 1}, groups, {});
  EXPECT_EQ(first.representatives, (std::vector<int>{0, 1}));
  EXPECT_EQ(first.ranks_of_colour, (std::vector<int>{2, 2}));
  EXPECT_EQ(first.colour_of_group[0], first.colour_of_group[1]);
  // Rank 3 is slow: rank 2 meets it, rank 1 meets it, rank 0 meets who meets it.
  EXPECT_EQ(Fold({0, 0, 0, 1}, groups, {}).representatives.size(), 4u);
  // Who shares a node with a slow one differs from who does not.
  EXPECT_EQ(Fold({0, 0, 1}, {}, {0, 1, 1}).representatives.size(), 3u);
  EXPECT_EQ(Fold({0, 0, 1}, {}, {}).representatives.size(), 2u);
}

}  // namespace
}  // namespace tp::predict
