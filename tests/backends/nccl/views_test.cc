// What the GPU's kernels take of views, without a GPU.
#include "backends/nccl/kernels/views.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tp::nccl {
namespace {

using testing::HasSubstr;

ScheduledOp OpOf(Action action, std::vector<View> reads, std::vector<View> writes) {
  ScheduledOp op;
  op.action = action;
  op.name = "y";
  op.reads = std::move(reads);
  op.writes = std::move(writes);
  return op;
}

View Packed(const Shape& sizes, int outermost = 0) {
  return PackedView(0, 0, sizes, Order::Outermost(outermost, sizes.size()));
}

TEST(CheckMatrices, NamesWhatIsNone) {
  const View matrix = Packed({4, 5}, 1), vector = Packed({5}), scalar = Packed({});
  EXPECT_TRUE(CheckMatrices(OpOf(Action{"add_bias"}, {matrix, vector}, {matrix}), "").ok());
  const ScheduledOp loss = OpOf(Action{"mse_loss"}, {matrix, Packed({2, 3, 4})}, {scalar});
  EXPECT_EQ(CheckMatrices(loss, "in the invariant order ").ToString(),
            "UNAVAILABLE: the GPU backend has no kernel 'mse_loss' for 'y': in the invariant order "
            "it takes matrices, not [0+2x3x4 by 12,4,1]");
  const ScheduledOp written = OpOf(Action{"sum"}, {matrix}, {Packed({2, 3, 4})});
  EXPECT_THAT(CheckMatrices(written, "").message(), HasSubstr("'y': it takes matrices, not"));
}

TEST(AsBatch, IsOneLoopOfAProduct) {
  const View a = Packed({3, 4, 5}), b = Packed({3, 5, 6}), c = Packed({3, 4, 6});
  const ProductViews views = AsBatch(OpOf(Action::kGemm, {a, b}, {c})).value();
  EXPECT_EQ(views.batch.count, 3);
  EXPECT_EQ(views.batch.a, 20);
  EXPECT_EQ(views.batch.b, 30);
  EXPECT_EQ(views.batch.c, 24);
  EXPECT_EQ(ToString(views.b), "[0+5x6 by 6,1]");
  View broadcast = b;
  broadcast.dims[0].stride = 0;
  EXPECT_EQ(AsBatch(OpOf(Action::kGemm, {a, broadcast}, {c}))->batch.b, 0);
}

TEST(AsBatch, AddsAMatrixToEachProduct) {
  const View a = Packed({3, 4, 5}), b = Packed({3, 5, 6}), c = Packed({3, 4, 6});
  const ProductViews views = AsBatch(OpOf(Action::kGemm, {a, b, c}, {c})).value();
  EXPECT_EQ(views.batch.added, 24);
  EXPECT_EQ(ToString(*views.added), "[0+4x6 by 6,1]");
  View repeated = c;
  repeated.dims[1].stride = 0;
  EXPECT_FALSE(AsBatch(OpOf(Action::kGemm, {a, b, repeated}, {c})));
  EXPECT_EQ(AsBatch(OpOf(Action::kGemm, {Packed({4, 5}), Packed({5, 6}), Packed({4, 6})},
                         {Packed({4, 6})}))
                ->added->rank(),
            2);
}

TEST(AsBatch, IsNothingElse) {
  const View a = Packed({3, 4, 5}), b = Packed({3, 5, 6}), c = Packed({3, 4, 6});
  View sum = c;
  sum.dims[0].stride = 0;
  EXPECT_FALSE(AsBatch(OpOf(Action::kGemm, {a, b}, {sum})));
  EXPECT_FALSE(AsBatch(OpOf(Action::kGemm, {a, b, Packed({3, 6})}, {c})));
  EXPECT_FALSE(AsBatch(
      OpOf(Action::kGemm, {Packed({2, 2, 4, 5}), Packed({2, 2, 5, 6})}, {Packed({2, 2, 4, 6})})));
  View scattered = Packed({4, 5});
  scattered.dims[1].stride = 3;
  scattered.dims[0].stride = 20;
  EXPECT_FALSE(AsBatch(OpOf(Action::kGemm, {scattered, Packed({5, 6})}, {Packed({4, 6})})));
  View repeated = Packed({4, 5});
  repeated.dims[0].stride = 0;
  EXPECT_FALSE(AsBatch(OpOf(Action::kGemm, {repeated, Packed({5, 6})}, {Packed({4, 6})})));
}

}  // namespace
}  // namespace tp::nccl
