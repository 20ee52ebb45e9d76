#include "tp/schedule/layout.h"

#include <gtest/gtest.h>

#include "tests/program/programs.h"
#include "tp/ops/ops.h"

namespace tp {
namespace {

TEST(ActiveAxis, IsWhereThePlacementChangesOverMoreThanOneRank) {
  Program program;
  const ValueId v = Input(program, "v", {4, 6}, Placements(Shard(0), Shard(1)));
  static_cast<void>(AddRedistribute(program, Phase::kForward, "a", v, Axis::kTp, Replicate()));
  static_cast<void>(AddRedistribute(program, Phase::kForward, "b", v, Axis::kDp, Replicate()));
  const Op& over_tp = program.ops()[1];
  const Op& over_dp = program.ops()[2];
  const Mesh both = Mesh::Create(2, 2).value();
  EXPECT_EQ(ActiveAxis(program, both, over_tp), Axis::kTp);
  EXPECT_EQ(ActiveAxis(program, both, over_dp), Axis::kDp);
  const Mesh only_tp = Mesh::Create(2, 1).value();
  EXPECT_EQ(ActiveAxis(program, only_tp, over_tp), Axis::kTp);
  EXPECT_EQ(ActiveAxis(program, only_tp, over_dp), std::nullopt);
}

// A shard that is gathered along its columns is stored by columns, and what lies beside it too.
TEST(ChooseLayout, PutsTheGatheredDimensionOutermost) {
  Program program;
  const ValueId x = Input(program, "x", {4, 6});
  const ValueId w = Parameter(program, "w", {5, 6}, On(Axis::kTp, Shard(0)));
  const ValueId shard =
      AddMatMul(program, Phase::kForward, "shard", x, w, {.transpose_b = true}).value();
  const ValueId y =
      AddRedistribute(program, Phase::kForward, "y", shard, Axis::kTp, Replicate()).value();
  const ValueId t = Input(program, "t", {4, 5});
  const ValueId dy = AddMseGrad(program, Phase::kBackward, "dy", y, t, 1).value();

  const Layout layout = ChooseLayout(program, Mesh::Create(2, 1).value());
  for (ValueId id : {shard, y, t, dy}) {
    EXPECT_EQ(layout.orders[id], Order::Outermost(1, 2)) << program.value(id).name;
    EXPECT_EQ(layout.whole_of[id], id == shard ? y : -1) << program.value(id).name;
  }
  EXPECT_EQ(layout.orders[x], Order::Own(2));

  const Layout alone = ChooseLayout(program, Mesh::Create(1, 1).value());
  for (ValueId id : {shard, y, t, dy}) {
    EXPECT_EQ(alone.orders[id], Order::Own(2)) << program.value(id).name;
    EXPECT_EQ(alone.whole_of[id], -1) << program.value(id).name;
  }
}

}  // namespace
}  // namespace tp
