// Reports from records made by hand: two ranks, one all_reduce of ten fp32 elements.
#include "tp/observe/step_report.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "tp/ops/ops.h"

namespace tp {
namespace {

constexpr int64_t kMs = 1000000;

TEST(QuantilesTest, AreThoseOfSortedValues) {
  const Quantiles one = QuantilesOf({3});
  EXPECT_EQ(one.median, 3);
  EXPECT_EQ(one.min, 3);
  EXPECT_EQ(one.p99, 3);
  const Quantiles even = QuantilesOf({4, 1, 3, 2});
  EXPECT_EQ(even.median, 2.5);
  EXPECT_EQ(even.min, 1);
  EXPECT_EQ(even.p99, 4);
  EXPECT_EQ(QuantilesOf({5, 1, 9}).median, 5);
}

// The nearest rank: the 99th of 100 values, the 100th of 101, the 198th of 200.
TEST(QuantilesTest, P99IsTheNearestRank) {
  for (const auto& [count, expected] : {std::pair{99, 99}, {100, 99}, {101, 100}, {200, 198}}) {
    std::vector<double> values;
    for (int i = count; i > 0; --i) values.push_back(i);
    EXPECT_EQ(QuantilesOf(values).p99, expected) << count;
  }
}

TEST(QuantilesDeathTest, NeedAValue) { EXPECT_DEATH(QuantilesOf({}), "Check failed"); }

Program MakeProgram() {
  Program program;
  const ValueId v = *AddInput(program, Value{"v", {10}, DType::kFloat32, {Partial(), Replicate()}});
  program.AddResult(*AddRedistribute(program, Phase::kForward, "y", v, Axis::kTp, Replicate()));
  return program;
}

ScheduledOp Compute(Phase phase) {
  ScheduledOp op;
  op.action = Action::kGemm;
  op.phase = phase;
  return op;
}

// Two products of the forward pass, the all_reduce, and an update.
Schedule MakeSchedule(int rank) {
  ScheduledOp collective;
  collective.action = Action::kCollective;
  collective.value = *MakeProgram().Find("y");
  collective.name = "y";
  collective.phase = Phase::kForward;
  collective.stream = Stream::kCommunication;
  collective.call = {CollectiveKind::kAllReduce, DType::kFloat32, Reduction::kSum, 0, {10}};
  collective.group = {0, 1};
  Schedule schedule;
  schedule.rank = rank;
  schedule.ops = {Compute(Phase::kForward), collective, Compute(Phase::kForward),
                  Compute(Phase::kOptimizer)};
  return schedule;
}

// `collective` is when the all_reduce ran, in ms; it sent `bytes`.
StepRecord MakeStep(std::pair<int64_t, int64_t> collective, int64_t end_ms, int64_t bytes) {
  StepRecord step;
  step.begin_ns = 1000 * kMs;
  step.end_ns = (1000 + end_ms) * kMs;
  const auto op = [](int64_t begin_ms, int64_t end_ms, int64_t sent) {
    return OpRecord{(1000 + begin_ms) * kMs, (1000 + end_ms) * kMs, sent};
  };
  step.ops = {op(0, 10, 0), op(collective.first, collective.second, bytes), op(12, 15, 0),
              op(20, 22, 0)};
  return step;
}

// An all_reduce of 10 fp32 over 2 ranks sends 2 * (2 - 1) * 40 bytes in all.
std::vector<RankRecord> MakeResult(int64_t bytes_of_rank_1 = 40, int64_t algorithm_bytes = 80) {
  std::vector<RankRecord> ranks;
  for (int rank = 0; rank < 2; ++rank) {
    RankRecord record;
    record.schedule = MakeSchedule(rank);
    record.algorithms = {"", "ring", "", ""};
    record.expected_bytes = {0, algorithm_bytes, 0, 0};
    const int64_t bytes = rank == 0 ? 40 : bytes_of_rank_1;
    // Rank 1 comes later to the first one: it waits for nobody.
    record.steps = {MakeStep({rank == 0 ? 5 : 11, 19}, rank == 0 ? 25 : 30, bytes),
                    MakeStep({11, rank == 0 ? 17 : 19}, 40, bytes)};
    record.op_steps = record.steps;
    ranks.push_back(std::move(record));
  }
  return ranks;
}

StepReport Report(const std::vector<RankRecord>& ranks) {
  const StatusOr<StepReport> report = MakeStepReport(MakeProgram(), *Mesh::Create(2, 1), ranks);
  EXPECT_TRUE(report.ok()) << report.status().ToString();
  return *report;
}

TEST(StepReportTest, AStepTakesAsLongAsItsSlowestRank) {
  const StepReport report = Report(MakeResult());
  EXPECT_EQ(report.step_ms, (std::vector<double>{30, 40}));
  EXPECT_EQ(report.step.median, 35);
  EXPECT_EQ(report.step.min, 30);
}

TEST(StepReportTest, ExposedIsWhatNoComputationCovers) {
  const StepReport report = Report(MakeResult());
  ASSERT_EQ(report.phases.size(), 4u);
  const PhaseTime& forward = report.phases[0];
  EXPECT_EQ(forward.phase, Phase::kForward);
  // Every rank and step computes 10 + 3 ms.
  EXPECT_DOUBLE_EQ(forward.compute_ms, 13);
  // Rank 0: 5..19 and 11..17; rank 1: 11..19 twice. Of these 0..10 and 12..15 are covered.
  EXPECT_DOUBLE_EQ(forward.communication_ms, (14 + 6 + 8 + 8) / 4.0);
  EXPECT_DOUBLE_EQ(forward.exposed_ms, (6 + 3 + 5 + 5) / 4.0);
  const PhaseTime& optimizer = report.phases[3];
  EXPECT_EQ(optimizer.phase, Phase::kOptimizer);
  EXPECT_DOUBLE_EQ(optimizer.compute_ms, 2);
  EXPECT_DOUBLE_EQ(optimizer.communication_ms, 0);
  EXPECT_DOUBLE_EQ(optimizer.exposed_ms, 0);
}

// Communication within a computation, at its edges, and where computations touch or overlap.
TEST(StepReportTest, ExposedCountsEveryGapOnce) {
  const auto exposed = [](std::pair<int64_t, int64_t> collective) {
    std::vector<RankRecord> ranks = MakeResult();
    for (RankRecord& rank : ranks) {
      rank.op_steps = {MakeStep(collective, 30, 40)};
      rank.op_steps[0].ops[3] = {1014 * kMs, 1022 * kMs, 0};  // overlaps the second: 12..22
    }
    return Report(ranks).phases[0].exposed_ms;
  };
  EXPECT_DOUBLE_EQ(exposed({2, 8}), 0);
  EXPECT_DOUBLE_EQ(exposed({0, 10}), 0);
  EXPECT_DOUBLE_EQ(exposed({10, 12}), 2);
  EXPECT_DOUBLE_EQ(exposed({9, 13}), 2);
  EXPECT_DOUBLE_EQ(exposed({13, 22}), 0);
  EXPECT_DOUBLE_EQ(exposed({22, 29}), 7);
  EXPECT_DOUBLE_EQ(exposed({0, 30}), 10);
  EXPECT_DOUBLE_EQ(exposed({11, 11}), 0);
}

TEST(StepReportTest, ACollectiveIsAsFastAsTheLastToCome) {
  const StepReport report = Report(MakeResult());
  ASSERT_EQ(report.collectives.size(), 1u);
  const CollectiveReport& y = report.collectives[0];
  EXPECT_EQ(y.contract.name, "y");
  EXPECT_EQ(y.algorithm, "ring");
  EXPECT_EQ(y.members, 2);
  EXPECT_EQ(y.array_bytes, 40);
  EXPECT_EQ(y.bytes_sent, 80);
  EXPECT_EQ(y.algorithm_bytes, 80);
  EXPECT_DOUBLE_EQ(y.time_us, 7000);  // the median of 8 ms and 6 ms
  EXPECT_DOUBLE_EQ(y.algbw_gbps, 40 / 7e6);
  EXPECT_DOUBLE_EQ(y.busbw_gbps, 40 / 7e6);  // times 2 (2 - 1) / 2
}

TEST(StepReportTest, AByteMoreOrLessIsADefect) {
  EXPECT_TRUE(Report(MakeResult()).bytes_ok);
  for (int64_t bytes : {39, 41, 0}) {
    const StepReport report = Report(MakeResult(bytes));
    EXPECT_FALSE(report.bytes_ok);
    EXPECT_FALSE(report.collectives[0].ok());
  }
  for (int64_t bytes : {79, 81, 0}) EXPECT_FALSE(Report(MakeResult(40, bytes)).bytes_ok);
  EXPECT_EQ(DescribeWrongBytes(Report(MakeResult(39)).collectives[0]),
            "moved 79 bytes, where ring sends 80 and the placements ask for at least 80");
}

// Everybody's whole array to all others, say: in fewer steps, and with more than two members more
// than the least. That is no defect where the algorithm says so, and less can't be right.
TEST(StepReportTest, AnAlgorithmMaySendMoreThanTheLeast) {
  const StepReport more = Report(MakeResult(/*bytes_of_rank_1=*/60, /*algorithm_bytes=*/100));
  EXPECT_TRUE(more.bytes_ok);
  EXPECT_EQ(more.collectives[0].bytes_sent, 100);
  EXPECT_EQ(more.collectives[0].algorithm_bytes, 100);
  EXPECT_EQ(more.collectives[0].called_bytes, 80);
  EXPECT_EQ(more.collectives[0].contract.bytes, 80);
  EXPECT_FALSE(Report(MakeResult(/*bytes_of_rank_1=*/39, /*algorithm_bytes=*/79)).bytes_ok);
}

// Whatever the algorithm says, the calls must be what the placements ask for.
TEST(StepReportTest, ACallOfOtherSizeIsADefect) {
  for (int64_t elements : {9, 11}) {
    std::vector<RankRecord> ranks = MakeResult();
    for (RankRecord& rank : ranks) rank.schedule.ops[1].call.counts = {elements};
    const StepReport report = Report(ranks);
    EXPECT_FALSE(report.bytes_ok);
    EXPECT_EQ(DescribeWrongBytes(report.collectives[0]), "moved 80 bytes, where its calls need " +
                                                             std::to_string(8 * elements) +
                                                             " and the placements ask for 80");
  }
}

TEST(StepReportTest, ACollectiveThatNobodyRanIsADefect) {
  std::vector<RankRecord> ranks = MakeResult();
  for (RankRecord& rank : ranks) rank.schedule.ops[1].value = 7;
  EXPECT_FALSE(Report(ranks).bytes_ok);
}

TEST(StepReportTest, ACollectiveThatNobodyDeclaredIsADefect) {
  std::vector<RankRecord> ranks = MakeResult();
  for (RankRecord& rank : ranks) {
    ScheduledOp more = rank.schedule.ops[1];
    more.value = 7;
    more.name = "z";
    more.phase = Phase::kBackward;
    rank.schedule.ops.push_back(more);
    rank.algorithms.push_back("ring");
    rank.expected_bytes.push_back(80);
    for (StepRecord& step : rank.op_steps) step.ops.push_back(step.ops[1]);
  }
  const StepReport report = Report(ranks);
  EXPECT_FALSE(report.bytes_ok);
  ASSERT_EQ(report.collectives.size(), 2u);
  EXPECT_TRUE(report.collectives[0].ok());
  EXPECT_FALSE(report.collectives[1].ok());
  EXPECT_EQ(report.collectives[1].contract.name, "z");
  EXPECT_EQ(report.collectives[1].contract.bytes, 0);
  EXPECT_EQ(report.collectives[1].bytes_sent, 80);
  EXPECT_EQ(DescribeWrongBytes(report.collectives[1]),
            "moved 80 bytes, where no placement asks for any");
}

// Whatever it is called: a value has a name for people, and an identity.
TEST(StepReportTest, ACollectiveIsTiedToItsValueNotToItsName) {
  std::vector<RankRecord> ranks = MakeResult();
  for (RankRecord& rank : ranks) rank.schedule.ops[1].name = "z";
  EXPECT_TRUE(Report(ranks).bytes_ok);
}

// Rank 1 copies a block that is empty on rank 0, ahead of the ops that both run.
TEST(StepReportTest, MeansAreOfTheRanksThatRunAnOp) {
  std::vector<RankRecord> ranks = MakeResult();
  const std::vector<OpTime> same = Report(ranks).ops;
  RankRecord& rank = ranks[1];
  ScheduledOp copy;
  copy.action = Action::kCopy;
  copy.name = "copied";
  rank.schedule.ops.insert(rank.schedule.ops.begin(), copy);
  rank.algorithms.insert(rank.algorithms.begin(), "");
  rank.expected_bytes.insert(rank.expected_bytes.begin(), 0);
  for (StepRecord& step : rank.op_steps) {
    step.ops.insert(step.ops.begin(), OpRecord{1000 * kMs, 1003 * kMs, 0});
  }
  const std::vector<OpTime> ops = Report(ranks).ops;
  ASSERT_EQ(ops.size(), same.size() + 1);
  for (size_t i = 0; i < same.size(); ++i) EXPECT_DOUBLE_EQ(ops[i].time_us, same[i].time_us) << i;
  EXPECT_EQ(ops.back().name, "copied");
  EXPECT_DOUBLE_EQ(ops.back().time_us, 3000);
}

TEST(StepReportTest, NeedsATimedStep) {
  std::vector<RankRecord> ranks = MakeResult();
  for (RankRecord& rank : ranks) rank.op_steps.clear();
  const Mesh mesh = *Mesh::Create(2, 1);
  EXPECT_EQ(MakeStepReport(MakeProgram(), mesh, ranks).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(MakeStepReport(MakeProgram(), mesh, {}).status().code(), StatusCode::kInvalidArgument);
}

// Profiled steps have a report of their own, and change nothing else in it.
TEST(StepReportTest, ProfiledStepsAreReportedApart) {
  std::vector<RankRecord> ranks = MakeResult();
  EXPECT_FALSE(Report(ranks).profile.has_value());
  for (RankRecord& rank : ranks) {
    rank.profiled = {MakeStep({11, 19}, 42, 40), MakeStep({11, 19}, 28, 40),
                     MakeStep({11, 19}, rank.schedule.rank == 0 ? 35 : 49, 40)};
    ProfiledStep traced;
    traced.record = MakeStep({5, 12}, 35, 40);
    rank.profile.steps = {traced};
  }
  const StepReport report = Report(ranks);
  EXPECT_EQ(report.step.median, 35);
  EXPECT_DOUBLE_EQ(report.phases[0].communication_ms, 9);
  ASSERT_TRUE(report.profile.has_value());
  EXPECT_EQ(report.profile->step.median, 42);
  EXPECT_EQ(report.profile->step.p99, 49);
  EXPECT_DOUBLE_EQ(report.profile->overhead, 0.2);
  EXPECT_EQ(report.profile->steps, 3);
  EXPECT_EQ(report.profile->traced, 1);
  EXPECT_DOUBLE_EQ(report.profile->phases[0].compute_ms, 13);
  EXPECT_DOUBLE_EQ(report.profile->phases[0].communication_ms, 7);
  EXPECT_DOUBLE_EQ(report.profile->phases[0].exposed_ms, 2);
}

}  // namespace
}  // namespace tp
