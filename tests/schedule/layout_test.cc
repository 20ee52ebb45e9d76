#include "tp/schedule/layout.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/program/programs.h"
#include "tp/model/transformer.h"
#include "tp/ops/ops.h"
#include "tp/schedule/lower.h"

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

// The sequence, along which activations are gathered and scattered, is outermost in all of them: a
// product that sums over batch and sequence sums over one dimension.
TEST(ChooseLayout, HandsOnWhatIsOutermost) {
  const Mesh mesh = Mesh::Create(2, 1).value();
  const Program program =
      MakeTransformerStep({}, {.batch = 3, .sequence = 4, .sequence_parallel = true}, mesh).value();
  const Layout layout = ChooseLayout(program, mesh);
  int tensors = 0;
  for (const Op& op : program.ops()) {
    for (ValueId id : op.outputs) {
      const Value& value = program.value(id);
      if (value.shape.size() < 3 || value.shape[0] != 3 || value.shape[1] != 4) continue;
      ++tensors;
      EXPECT_EQ(layout.orders[id], Order::Outermost(1, value.shape.size())) << value.name;
    }
  }
  EXPECT_GT(tensors, 50);
  const std::vector<Schedule> schedules = LowerAll(program, mesh).value();
  for (const Schedule& schedule : schedules) {
    for (const ScheduledOp& op : schedule.ops) {
      if (op.action != Action::kGemm) continue;
      EXPECT_EQ(op.writes[0].rank(), 2) << op.name << " is not one matrix product";
    }
  }
}

}  // namespace
}  // namespace tp
