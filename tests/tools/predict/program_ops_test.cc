#include "tools/predict/program_ops.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <tuple>

namespace tp::predict_tool {
namespace {

using testing::ElementsAre;

struct Ran {
  Action action = Action::kCopy;
  Stream stream = Stream::kCompute;
  double bytes = 0;
  double us = 0;
};

std::vector<double> Shares(const std::vector<Ran>& ran, double gap_us) {
  Schedule schedule;
  std::vector<predict::OpWork> works;
  std::vector<double> us;
  for (const Ran& one : ran) {
    ScheduledOp op;
    op.action = one.action;
    op.stream = one.stream;
    schedule.ops.push_back(op);
    predict::OpWork work;
    work.bytes = one.bytes;
    work.loops = one.action == Action::kGemm ? 1 : 0;
    works.push_back(work);
    us.push_back(one.us);
  }
  return ShareTimes(schedule, works, us, gap_us);
}

TEST(ShareTimesTest, EachHasItsOwnTimeAndAGap) {
  EXPECT_THAT(Shares({{.bytes = 10, .us = 3}, {.bytes = 1, .us = 5}}, 1), ElementsAre(4, 6));
}

TEST(ShareTimesTest, OpsOfOneLaunchShareByTheirBytes) {
  EXPECT_THAT(
      Shares({{.bytes = 10}, {.bytes = 20}, {.bytes = 30, .us = 11}, {.bytes = 1, .us = 2}}, 1),
      ElementsAre(2, 4, 6, 3));
}

TEST(ShareTimesTest, AProductDoesNobodyElsesWork) {
  EXPECT_THAT(Shares({{.bytes = 10}, {.action = Action::kGemm, .bytes = 20, .us = 5}}, 1),
              ElementsAre(0, 6));
}

TEST(ShareTimesTest, StreamsAndCollectivesAreApart) {
  EXPECT_THAT(Shares({{.bytes = 10},
                      {.action = Action::kCollective, .stream = Stream::kCommunication, .us = 9},
                      {.stream = Stream::kCommunication, .bytes = 10, .us = 2},
                      {.bytes = 10, .us = 3}},
                     1),
              ElementsAre(2, 0, 3, 2));
}

TEST(ShareTimesTest, WhatNobodyDidTakesNothing) {
  EXPECT_THAT(Shares({{.bytes = 10}, {.us = 3}}, 1), ElementsAre(4, 0));
  EXPECT_THAT(Shares({{.us = 3}, {.bytes = 10}}, 1), ElementsAre(0, 0));
}

// What collectives kept apart is on one stream, in order.
TEST(WithoutCollectivesTest, LeavesTheOtherOpsOnOneStream) {
  Schedule schedule;
  for (const auto& [action, stream, name] :
       {std::tuple(Action::kGemm, Stream::kCompute, "y"),
        std::tuple(Action::kCollective, Stream::kCommunication, "y"),
        std::tuple(Action::kCopy, Stream::kCommunication, "z")}) {
    ScheduledOp op;
    op.action = action;
    op.stream = stream;
    op.name = name;
    if (!schedule.ops.empty()) op.waits = {0};
    schedule.ops.push_back(op);
  }
  const Schedule alone = WithoutCollectives(schedule);
  ASSERT_EQ(alone.ops.size(), 2u);
  EXPECT_EQ(alone.ops[0].name, "y");
  EXPECT_EQ(alone.ops[1].name, "z");
  for (const ScheduledOp& op : alone.ops) {
    EXPECT_NE(op.action, Action::kCollective);
    EXPECT_EQ(op.stream, Stream::kCompute);
    EXPECT_TRUE(op.waits.empty());
  }
}

}  // namespace
}  // namespace tp::predict_tool
