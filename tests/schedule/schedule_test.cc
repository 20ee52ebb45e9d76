#include "tp/schedule/schedule.h"

#include <gtest/gtest.h>

namespace tp {
namespace {

TEST(Schedule, PrintsOneOpALineAndItsBuffers) {
  Schedule schedule;
  schedule.rank = 1;
  schedule.buffers = {{"p", DType::kFloat32, 20}, {"g", DType::kBFloat16, 6}};
  ScheduledOp gemm;
  gemm.action = Action::kGemm;
  gemm.name = "p";
  gemm.reads = {MatrixView(1, 0, 2, 3, 3, 1), MatrixView(1, 0, 3, 2, 1, 3)};
  gemm.writes = {MatrixView(0, 0, 4, 5, 5, 1)};
  ScheduledOp reduce;
  reduce.action = Action::kCollective;
  reduce.name = "y";
  reduce.phase = Phase::kBackward;
  reduce.stream = Stream::kCommunication;
  reduce.call.kind = CollectiveKind::kAllReduce;
  reduce.call.counts = {20};
  reduce.reads = reduce.writes = gemm.writes;
  reduce.waits = {0};
  schedule.ops = {gemm, reduce};
  EXPECT_EQ(ToString(schedule),
            "rank 1\n"
            "0 compute: p = gemm(g[0+2x3 by 3,1], g[0+3x2 by 1,3]) -> p[0+4x5 by 5,1]  # forward\n"
            "1 communication: y = all_reduce(sum, fp32, 20 elements)(p[0+4x5 by 5,1]) -> "
            "p[0+4x5 by 5,1] after 0  # backward\n"
            "buffer p: 80 bytes\n"
            "buffer g: 12 bytes\n");
}

TEST(ScheduleDeathTest, ABindingThatIsNotThereIsAMistake) {
  EXPECT_DEATH(Schedule().BindingOf("y"), "no binding 'y'");
}

}  // namespace
}  // namespace tp
