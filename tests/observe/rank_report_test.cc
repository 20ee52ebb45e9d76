// How ranks differ, from records made by hand: two ranks, a product and a collective, three steps.
#include "tp/observe/rank_report.h"

#include <gtest/gtest.h>

#include <vector>

namespace tp {
namespace {

ScheduledOp Op(const char* name, Action action) {
  ScheduledOp op;
  op.name = name;
  op.action = action;
  return op;
}

// The step begins at `begin`; each op is {begin, end} after that, in ns.
StepRecord Step(int64_t begin, OpRecord product, OpRecord collective) {
  StepRecord step;
  step.begin_ns = begin;
  for (OpRecord op : {product, collective}) {
    step.ops.push_back({begin + op.begin_ns, begin + op.end_ns, op.bytes_sent});
  }
  step.end_ns = step.ops.back().end_ns;
  return step;
}

std::vector<RankRecord> TwoRanks() {
  std::vector<RankRecord> ranks;
  ranks.resize(2);
  for (RankRecord& rank : ranks) {
    rank.schedule.ops = {Op("product", Action::kGemm), Op("y", Action::kCollective)};
  }
  // The clock of rank 1 is far from that of rank 0.
  ranks[0].steps = {Step(0, {0, 2000, 0}, {2000, 9000, 8}),
                    Step(10000, {0, 4000, 0}, {4000, 8000, 8}),
                    Step(20000, {0, 3000, 0}, {3000, 6000, 8})};
  ranks[1].steps = {Step(7000000, {0, 4000, 0}, {4000, 8000, 12}),
                    Step(7010000, {0, 4000, 0}, {4000, 8000, 12}),
                    Step(7020000, {0, 9000, 0}, {9000, 11000, 12})};
  for (RankRecord& rank : ranks) rank.op_steps = rank.steps;
  return ranks;
}

TEST(RankReportTest, TellsTheRanksApart) {
  const RankReport report = MakeRankReport(TwoRanks());
  EXPECT_EQ(report.step_ms, (std::vector<double>{0.008, 0.008}));
  ASSERT_EQ(report.ops.size(), 2u);
  EXPECT_EQ(report.ops[0].name, "product");
  EXPECT_EQ(report.ops[0].time_us, (std::vector<double>{3, 4}));
  EXPECT_EQ(report.ops[0].longest_over_shortest, 2);  // of 2, 1 and 3
  EXPECT_EQ(report.ops[1].action, Action::kCollective);
  EXPECT_EQ(report.ops[1].done_us, (std::vector<double>{8, 8}));
  EXPECT_EQ(report.ops[1].done_spread_us, 1);  // of 1, 0 and 5
  EXPECT_EQ(report.ops[1].bytes_sent, (std::vector<int64_t>{8, 12}));
}

TEST(RankReportTest, CountsFromTheFirstBeginWhereRanksShareAClock) {
  std::vector<RankRecord> ranks = TwoRanks();
  EXPECT_FALSE(MakeRankReport(ranks).one_clock);
  ranks[1].op_steps = {Step(500, {0, 4000, 0}, {4000, 8000, 12}),
                       Step(10500, {0, 4000, 0}, {4000, 8000, 12}),
                       Step(20500, {0, 9000, 0}, {9000, 11000, 12})};
  const RankReport report = MakeRankReport(ranks);
  EXPECT_TRUE(report.one_clock);
  EXPECT_EQ(report.ops[1].done_us, (std::vector<double>{8, 8.5}));
  EXPECT_EQ(report.ops[1].done_spread_us, 0.5);  // of 0.5, 0.5 and 5.5
}

TEST(RankReportTest, FindsAnOpThatLiesElsewhereAndLeavesOutOneThatIsNotEverywhere) {
  std::vector<RankRecord> ranks = TwoRanks();
  RankRecord& rank = ranks[1];
  std::swap(rank.schedule.ops[0], rank.schedule.ops[1]);
  for (StepRecord& step : rank.op_steps) std::swap(step.ops[0], step.ops[1]);
  EXPECT_EQ(MakeRankReport(ranks).ops[0].time_us, (std::vector<double>{3, 4}));
  rank.schedule.ops[0].value = 7;
  const RankReport report = MakeRankReport(ranks);
  ASSERT_EQ(report.ops.size(), 1u);
  EXPECT_EQ(report.ops[0].name, "product");
}

TEST(RankReportTest, IsEmptyWhereNothingWasTimed) {
  EXPECT_TRUE(MakeRankReport({}).step_ms.empty());
}

}  // namespace
}  // namespace tp
