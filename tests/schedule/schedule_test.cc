#include "tp/schedule/schedule.h"

#include <gtest/gtest.h>

namespace tp {
namespace {

TEST(View, CutsAndTransposes) {
  const View whole = {2, 10, 4, 6, 6, 1};
  EXPECT_EQ(whole.size(), 24);
  EXPECT_EQ(whole.End(), 34);
  const View part = whole.Sub(1, 2, 3, 4);
  EXPECT_EQ(part, (View{2, 18, 3, 4, 6, 1}));
  EXPECT_EQ(part.End(), 18 + 2 * 6 + 3 + 1);
  EXPECT_EQ(part.Transposed(), (View{2, 18, 4, 3, 1, 6}));
  EXPECT_EQ(part.Transposed().End(), part.End());
}

TEST(View, AnEmptyPartStaysInside) {
  const View whole = {0, 0, 4, 6, 6, 1};
  for (const View& part : {whole.Sub(4, 0, 0, 6), whole.Sub(0, 6, 4, 0),
                           whole.Sub(0, 6, 4, 0).Sub(4, 0, 0, 0), whole.Sub(2, 3, 0, 0)}) {
    EXPECT_TRUE(part.empty());
    EXPECT_LE(part.offset, whole.End());
    EXPECT_EQ(part.End(), part.offset);
  }
}

TEST(View, IsPackedInTheOrderItIsStored) {
  const View rows = {0, 0, 4, 6, 6, 1};
  EXPECT_TRUE(IsPacked(rows, Order::kRowsOutermost));
  EXPECT_FALSE(IsPacked(rows, Order::kColumnsOutermost));
  EXPECT_TRUE(IsPacked(rows.Transposed(), Order::kColumnsOutermost));
  EXPECT_TRUE(IsPacked(rows.Sub(1, 0, 2, 6), Order::kRowsOutermost));
  EXPECT_FALSE(IsPacked(rows.Sub(0, 1, 2, 5), Order::kRowsOutermost));
  // One row, or nothing, is packed both ways; one column of many is not.
  for (Order order : {Order::kRowsOutermost, Order::kColumnsOutermost}) {
    EXPECT_TRUE(IsPacked(rows.Sub(2, 1, 1, 4), order));
    EXPECT_TRUE(IsPacked(rows.Sub(2, 1, 0, 4), order));
    EXPECT_FALSE(IsPacked(rows.Sub(0, 1, 4, 1), order));
  }
}

TEST(Schedule, PrintsOneOpALineAndItsBuffers) {
  Schedule schedule;
  schedule.rank = 1;
  schedule.buffers = {{"p", DType::kFloat32, 20}, {"g", DType::kBFloat16, 6}};
  ScheduledOp gemm;
  gemm.action = Action::kGemm;
  gemm.name = "p";
  gemm.reads = {{1, 0, 2, 3, 3, 1}, {1, 0, 3, 2, 1, 3}};
  gemm.writes = {{0, 0, 4, 5, 5, 1}};
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
