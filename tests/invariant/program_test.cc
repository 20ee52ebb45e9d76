// What a Program in the invariant sum order may do, and what it lowers to.

#include "tp/program/program.h"

#include <glog/logging.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tp/model/linear_step.h"
#include "tp/ops/ops.h"
#include "tp/passes/passes.h"
#include "tp/schedule/lower.h"

namespace tp {
namespace {

Program Step(LinearMode mode, const Mesh& mesh) {
  LinearStepOptions options;
  options.mode = mode;
  options.tokens = 7;
  options.in_features = 11;
  options.out_features = 5;
  options.sum_order = SumOrder::kInvariant;
  StatusOr<Program> program = MakeLinearStep(options, mesh);
  CHECK(program.ok()) << program.status().ToString();
  return *program;
}

int Count(const Schedule& schedule, Action action) {
  return static_cast<int>(
      std::count_if(schedule.ops.begin(), schedule.ops.end(),
                    [&](const ScheduledOp& op) { return op.action == action; }));
}

TEST(InvariantProgram, LowersToBlockedSumsAlone) {
  for (LinearMode mode : {LinearMode::kRow, LinearMode::kColumn}) {
    const Mesh mesh = *Mesh::Create(3, 2);
    const StatusOr<Schedule> schedule = Lower(Step(mode, mesh), mesh, 4);
    ASSERT_TRUE(schedule.ok()) << schedule.status().ToString();
    EXPECT_EQ(Count(*schedule, Action::kGemm), 0);
    EXPECT_EQ(Count(*schedule, Action::kSumRows), 0);
    EXPECT_EQ(Count(*schedule, Action::kBlockedGemm), 3);
    EXPECT_EQ(Count(*schedule, Action::kBlockedSumRows), 1);
    EXPECT_EQ(Count(*schedule, Action::kSumBlocks), 3);  // Y or dX over tp; dW and db over dp
    for (const ScheduledOp& op : schedule->ops) {
      if (op.action != Action::kCollective) continue;
      EXPECT_NE(op.call.kind, CollectiveKind::kAllReduce) << op.name;
    }
  }
}

TEST(InvariantProgram, RefusesRanksThatCutBlocks) {
  for (auto [tp, dp] : {std::pair(5, 1), std::pair(1, 7), std::pair(16, 1)}) {
    const Mesh mesh = *Mesh::Create(tp, dp);
    const Status status = Lower(Step(LinearMode::kRow, mesh), mesh, 0).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find("divides 24"), std::string::npos) << status.message();
  }
}

// x [4, 6] w [6, 2], both cut along the contraction.
struct PartialProduct {
  Program program;
  ValueId product;
};
PartialProduct MakePartialProduct() {
  PartialProduct made;
  Program& program = made.program;
  program.set_sum_order(SumOrder::kInvariant);
  const ValueId x =
      *AddInput(program, Value{"x", {4, 6}, DType::kFloat32, Placements(Shard(1), Replicate())});
  const ValueId w = *AddParameter(
      program, Value{"w", {6, 2}, DType::kFloat32, Placements(Shard(0), Replicate())});
  made.product = *AddMatMul(program, Phase::kForward, "xw", x, w, {});
  return made;
}

TEST(InvariantProgram, PartialSumsAreReadByRedistributesAlone) {
  PartialProduct whole = MakePartialProduct();
  ASSERT_TRUE(
      AddRedistribute(whole.program, Phase::kForward, "y", whole.product, Axis::kTp, Replicate())
          .ok());
  EXPECT_TRUE(Verify(whole.program).ok()) << Verify(whole.program).ToString();

  PartialProduct sharded = MakePartialProduct();
  ASSERT_TRUE(
      AddRedistribute(sharded.program, Phase::kForward, "y", sharded.product, Axis::kTp, Shard(0))
          .ok());
  EXPECT_TRUE(Verify(sharded.program).ok()) << Verify(sharded.program).ToString();

  PartialProduct summed = MakePartialProduct();
  ASSERT_TRUE(AddSumRows(summed.program, Phase::kForward, "s", summed.product).ok());
  EXPECT_FALSE(Verify(summed.program).ok());

  PartialProduct result = MakePartialProduct();
  result.program.AddResult(result.product);
  EXPECT_FALSE(Verify(result.program).ok());
}

// The ranks' parts of a term have no place on the tree, which shards of the terms do have.
TEST(InvariantProgram, SumsWholeTermsAlone) {
  for (const bool partial : {false, true}) {
    Program program;
    program.set_sum_order(SumOrder::kInvariant);
    const Placements placements(partial ? Partial() : Shard(0), Replicate());
    const ValueId v = *AddInput(program, Value{"v", {4, 6}, DType::kFloat32, placements});
    const ValueId sum = *AddSumRows(program, Phase::kForward, "sum", v);
    ASSERT_TRUE(AddRedistribute(program, Phase::kForward, "s", sum, Axis::kTp, Replicate()).ok());
    const Status status = Verify(program);
    EXPECT_EQ(status.ok(), !partial) << status.ToString();
    if (!partial) continue;
    EXPECT_NE(status.message().find("'v' in the invariant order, which is Partial on tp"),
              std::string::npos)
        << status.message();
  }
}

TEST(InvariantProgram, KeepsBiasesOutOfProducts) {
  const Mesh mesh = *Mesh::Create(2, 1);
  Program program = Step(LinearMode::kRow, mesh);
  FuseBias(program);
  for (const Op& op : program.ops()) {
    EXPECT_FALSE(op.Is(kMatMul) && op.inputs.size() == 3);
  }
  program.set_sum_order(SumOrder::kFast);
  FuseBias(program);
  EXPECT_TRUE(Verify(program).ok());
  program.set_sum_order(SumOrder::kInvariant);
  EXPECT_EQ(Verify(program).code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace tp
