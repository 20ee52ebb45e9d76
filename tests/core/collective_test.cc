#include "tp/core/collective.h"

#include <gtest/gtest.h>

namespace tp {
namespace {

CollectiveCall Call(CollectiveKind kind, std::vector<int64_t> counts) {
  CollectiveCall call;
  call.kind = kind;
  call.counts = std::move(counts);
  return call;
}

TEST(Collective, PrintsWhatMembersMustAgreeOn) {
  EXPECT_EQ(ToString(Call(CollectiveKind::kAllReduce, {1000})),
            "all_reduce(sum, fp32, 1000 elements)");
  CollectiveCall scatter = Call(CollectiveKind::kReduceScatter, {3, 0, 4});
  scatter.reduction = Reduction::kMax;
  scatter.dtype = DType::kBFloat16;
  EXPECT_EQ(ToString(scatter), "reduce_scatter(max, bf16, 7 elements)");
  EXPECT_EQ(ToString(Call(CollectiveKind::kAllGather, {2, 2})), "all_gather(fp32, 4 elements)");
  CollectiveCall broadcast = Call(CollectiveKind::kBroadcast, {9});
  broadcast.root = 2;
  EXPECT_EQ(ToString(broadcast), "broadcast(root 2, fp32, 9 elements)");
  EXPECT_EQ(ToString(Call(CollectiveKind::kBarrier, {})), "barrier()");
}

TEST(Collective, ATurnSendsEveryBlockEquallyFar) {
  const auto turn = [](std::vector<int64_t> counts) {
    return TurnOf(Call(CollectiveKind::kAllToAll, std::move(counts)), 3);
  };
  EXPECT_EQ(turn({0, 5, 0, 0, 0, 6, 7, 0, 0}), 1);
  EXPECT_EQ(turn({0, 0, 5, 0, 0, 0, 0, 7, 0}), 2);
  EXPECT_EQ(turn({0, 5, 0, 6, 0, 0, 0, 0, 0}), 0);  // 1 and 2 places
  EXPECT_EQ(turn({1, 0, 0, 0, 0, 0, 0, 0, 0}), 0);  // to itself
  EXPECT_EQ(turn({0, 0, 0, 0, 0, 0, 0, 0, 0}), 0);
  EXPECT_EQ(TurnOf(Call(CollectiveKind::kAllGather, {5, 5, 5}), 3), 0);
}

TEST(Collective, MinimalVolumeIsThatOfTheBestAlgorithms) {
  EXPECT_EQ(MinimalElementsSent(Call(CollectiveKind::kAllReduce, {10}), 4), 60);
  EXPECT_EQ(MinimalElementsSent(Call(CollectiveKind::kAllGather, {4, 3, 3}), 3), 20);
  EXPECT_EQ(MinimalElementsSent(Call(CollectiveKind::kReduceScatter, {4, 3, 3}), 3), 20);
  EXPECT_EQ(MinimalElementsSent(Call(CollectiveKind::kBroadcast, {10}), 4), 30);
  // Everything off the diagonal.
  EXPECT_EQ(MinimalElementsSent(Call(CollectiveKind::kAllToAll, {1, 2, 3, 4}), 2), 5);
  EXPECT_EQ(MinimalElementsSent(Call(CollectiveKind::kBarrier, {}), 4), 0);
}

TEST(Collective, AloneNothingIsSent) {
  for (CollectiveKind kind :
       {CollectiveKind::kAllReduce, CollectiveKind::kAllGather, CollectiveKind::kReduceScatter,
        CollectiveKind::kBroadcast, CollectiveKind::kAllToAll}) {
    EXPECT_EQ(MinimalElementsSent(Call(kind, {10}), 1), 0) << Name(kind);
  }
}

TEST(Collective, BusBandwidthIsWhatEachMemberSends) {
  for (int members : {2, 3, 4, 8}) {
    const CollectiveCall reduce = Call(CollectiveKind::kAllReduce, {members * 6});
    const CollectiveCall gather =
        Call(CollectiveKind::kAllGather, std::vector<int64_t>(members, 6));
    CollectiveCall exchange =
        Call(CollectiveKind::kAllToAll, std::vector<int64_t>(members * members, 6));
    for (const CollectiveCall& call : {reduce, gather}) {
      EXPECT_DOUBLE_EQ(BusBandwidthFactor(call.kind, members) * members * TotalElements(call),
                       MinimalElementsSent(call, members));
    }
    // nccl-tests' size of an all-to-all is what one member sends.
    EXPECT_DOUBLE_EQ(BusBandwidthFactor(exchange.kind, members) * TotalElements(exchange),
                     MinimalElementsSent(exchange, members));
  }
  EXPECT_EQ(BusBandwidthFactor(CollectiveKind::kBroadcast, 4), 1);
  EXPECT_EQ(BusBandwidthFactor(CollectiveKind::kBarrier, 4), 0);
}

TEST(Collective, CallsDifferInEachPart) {
  const CollectiveCall call = Call(CollectiveKind::kAllReduce, {10});
  CollectiveCall other = call;
  EXPECT_EQ(call, other);
  other.counts = {11};
  EXPECT_NE(call, other);
  other = call;
  other.dtype = DType::kFloat64;
  EXPECT_NE(call, other);
  other = call;
  other.reduction = Reduction::kMin;
  EXPECT_NE(call, other);
  other = call;
  other.root = 1;
  EXPECT_NE(call, other);
}

}  // namespace
}  // namespace tp
