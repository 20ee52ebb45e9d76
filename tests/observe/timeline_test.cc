// Timelines from records made by hand.
#include "tp/observe/timeline.h"

#include <gtest/gtest.h>

#include "tests/observe/profiled_rank.h"

namespace tp {
namespace {

TEST(TimelineTest, HoldsTheRankAndItsSteps) {
  const Timeline timeline = MakeTimeline(MakeProfiledRank(), 4, "sim");
  EXPECT_EQ(timeline.rank, 3);
  EXPECT_EQ(timeline.world, 4);
  EXPECT_EQ(timeline.backend, "sim");
  EXPECT_EQ(timeline.host, "box");
  EXPECT_EQ(timeline.process, 77);
  ASSERT_EQ(timeline.steps.size(), 1u);
  const TimelineStep& step = timeline.steps[0];
  EXPECT_EQ(step.number, 12);
  EXPECT_EQ(step.arrived_ns, At(-9));
  EXPECT_EQ(step.released_ns, At(-2));
  EXPECT_EQ(step.begin_ns, At(-1));
  EXPECT_EQ(step.handed_over_ns, At(1));
  EXPECT_EQ(step.end_ns, At(25));
  EXPECT_EQ(step.duration_ns, 25000);
}

TEST(TimelineTest, AnOpOfAWorkerIsOneKernel) {
  const Timeline timeline = MakeTimeline(MakeProfiledRank(), 4, "sim");
  const std::vector<TimelineOp>& ops = timeline.steps[0].ops;
  ASSERT_EQ(ops.size(), 4u);
  EXPECT_EQ(TimelineName(ops[0]), "gemm y.partial");
  EXPECT_EQ(TimelineName(ops[1]), "all_reduce y");
  EXPECT_EQ(ops[2].phase, Phase::kBackward);
  EXPECT_EQ(ops[1].stream, Stream::kCommunication);
  for (const TimelineOp& op : ops) {
    ASSERT_EQ(op.kernels.size(), 1u);
    EXPECT_EQ(op.kernels[0].begin_ns, op.begin_ns);
    EXPECT_EQ(op.kernels[0].end_ns, op.end_ns);
    EXPECT_EQ(op.enqueue_begin_ns, At(-1));  // with the whole step
    EXPECT_EQ(op.enqueue_end_ns, At(-1));
  }
  EXPECT_EQ(ops[0].kernels[0].name, "gemm (CPU worker)");
  EXPECT_EQ(ops[1].kernels[0].name, "all_reduce ring (CPU worker)");
}

TEST(TimelineTest, InputsAreTheRanksOwnParts) {
  const Timeline timeline = MakeTimeline(MakeProfiledRank(), 4, "sim");
  const TimelineOp& product = timeline.steps[0].ops[0];
  ASSERT_EQ(product.inputs.size(), 2u);
  EXPECT_EQ(product.inputs[0].rows, 2);
  EXPECT_EQ(product.inputs[0].columns, 3);
  EXPECT_EQ(product.inputs[0].dtype, DType::kFloat32);
  EXPECT_EQ(product.inputs[1].dtype, DType::kFloat64);
  const TimelineOp& collective = timeline.steps[0].ops[1];
  ASSERT_EQ(collective.inputs.size(), 1u);
  EXPECT_EQ(collective.inputs[0].rows * collective.inputs[0].columns, 10);
}

TEST(TimelineTest, CollectivesSayWhatTheyMovedAndCount) {
  RankRecord rank = MakeProfiledRank();
  rank.profile.steps.push_back(rank.profile.steps[0]);
  rank.profile.steps[1].number = 13;
  // A second one of the same group and one of another.
  for (Axis axis : {Axis::kTp, Axis::kDp}) {
    rank.schedule.ops.push_back(rank.schedule.ops[1]);
    rank.schedule.ops.back().axis = axis;
    rank.algorithms.push_back("tree");
    for (ProfiledStep& step : rank.profile.steps) step.record.ops.push_back(step.record.ops[1]);
  }
  const Timeline timeline = MakeTimeline(rank, 4, "sim");
  const TimelineCollective& collective = *timeline.steps[0].ops[1].collective;
  EXPECT_EQ(collective.kind, CollectiveKind::kAllReduce);
  EXPECT_EQ(collective.algorithm, "ring");
  EXPECT_EQ(collective.group, (std::vector<int>{1, 3}));
  EXPECT_EQ(collective.bytes_sent, 20);
  EXPECT_EQ(collective.array_bytes, 20);
  EXPECT_FALSE(timeline.steps[0].ops[0].collective.has_value());
  // Two a step over tp, one over dp; 12 steps came before.
  EXPECT_EQ(timeline.steps[0].ops[1].collective->sequence, 24);
  EXPECT_EQ(timeline.steps[0].ops[4].collective->sequence, 25);
  EXPECT_EQ(timeline.steps[0].ops[5].collective->sequence, 12);
  EXPECT_EQ(timeline.steps[1].ops[1].collective->sequence, 26);
}

// A wait is where a stream had nothing else to do.
TEST(TimelineTest, WaitsLastFromTheStreamsLastOpToItsNext) {
  RankRecord rank = MakeProfiledRank();
  const Timeline timeline = MakeTimeline(rank, 4, "sim");
  const std::vector<TimelineWait>& waits = timeline.steps[0].waits;
  ASSERT_EQ(waits.size(), 2u);
  EXPECT_EQ(waits[0].stream, Stream::kCommunication);
  EXPECT_EQ(waits[0].value, "y.partial");
  EXPECT_EQ(waits[0].begin_ns, At(-1));  // from the step's begin
  EXPECT_EQ(waits[0].end_ns, At(11));
  EXPECT_EQ(waits[1].stream, Stream::kCompute);
  EXPECT_EQ(waits[1].value, "y");
  EXPECT_EQ(waits[1].begin_ns, At(15));
  EXPECT_EQ(waits[1].end_ns, At(20));
  // What was waited for had already ended when the stream came to it.
  rank.profile.steps[0].record.ops[2] = {At(12), At(19), 0};
  EXPECT_EQ(MakeTimeline(rank, 4, "sim").steps[0].waits.size(), 1u);
}

TEST(TimelineTest, PhasesAreRunsOfOpsOnAStream) {
  const Timeline timeline = MakeTimeline(MakeProfiledRank(), 4, "sim");
  const std::vector<TimelinePhase>& phases = timeline.steps[0].phases;
  ASSERT_EQ(phases.size(), 4u);
  const auto expect = [&](size_t i, Phase phase, Stream stream, int64_t begin, int64_t end) {
    EXPECT_EQ(phases[i].phase, phase) << i;
    EXPECT_EQ(phases[i].stream, stream) << i;
    EXPECT_EQ(phases[i].begin_ns, At(begin)) << i;
    EXPECT_EQ(phases[i].end_ns, At(end)) << i;
  };
  expect(0, Phase::kForward, Stream::kCompute, 0, 10);
  expect(1, Phase::kBackward, Stream::kCompute, 12, 15);
  expect(2, Phase::kOptimizer, Stream::kCompute, 20, 22);
  expect(3, Phase::kForward, Stream::kCommunication, 11, 19);
}

TEST(TimelineTest, KeepsADevicesKernelsAndEnqueueTimes) {
  const RankRecord rank = MakeProfiledGpuRank();
  const std::vector<TimelineOp> ops = MakeTimeline(rank, 4, "nccl").steps[0].ops;
  EXPECT_EQ(ops[3].kernels, rank.profile.steps[0].record.profile[3].kernels);
  EXPECT_EQ(ops[0].enqueue_begin_ns, At(-7));
  EXPECT_EQ(ops[0].enqueue_end_ns, At(-6));
}

TEST(TimelineDeathTest, NeedsEveryOp) {
  RankRecord rank = MakeProfiledRank();
  rank.profile.steps[0].record.ops.pop_back();
  EXPECT_DEATH(MakeTimeline(rank, 4, "sim"), "Check failed");
}

}  // namespace
}  // namespace tp
