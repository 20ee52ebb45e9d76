#include "tp/passes/passes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/program/programs.h"
#include "tp/model/linear_step.h"
#include "tp/ops/ops.h"

namespace tp {
namespace {

using testing::ElementsAre;

constexpr Phase kForward = Phase::kForward;
constexpr Phase kBackward = Phase::kBackward;

Mesh MeshOf(int tp, int dp) { return Mesh::Create(tp, dp).value(); }

Program Step(LinearMode mode, bool optimize = false) {
  LinearStepOptions options;
  options.mode = mode;
  options.optimize = optimize;
  return MakeLinearStep(options, MeshOf(2, 2)).value();
}

// An all-gathered value, and its shard.
struct Gathered {
  Program program;
  ValueId shard, whole, targets;
};

Gathered MakeGathered() {
  Gathered g;
  g.shard = Input(g.program, "shard", {4, 6}, On(Axis::kTp, Shard(1)));
  g.whole = AddRedistribute(g.program, kForward, "whole", g.shard, Axis::kTp, Replicate()).value();
  g.targets = Input(g.program, "targets", {4, 6});
  return g;
}

TEST(ComputeLossOnShards, MovesLossAndGradientOffTheGather) {
  Program program = Step(LinearMode::kRow);
  ComputeLossOnShards(program);
  ASSERT_TRUE(Verify(program).ok()) << Verify(program).ToString();
  const ValueId loss = program.Find("loss").value();
  const ValueId gradient = program.Find("dy.shard").value();
  const std::vector<ValueId> on_shard = {program.Find("y.shard").value(),
                                         program.Find("targets.shard").value()};
  EXPECT_EQ(program.value(loss).placements, Placements(Partial(), Partial()));
  EXPECT_EQ(program.ops()[program.DefinitionOf(loss)].inputs, on_shard);
  EXPECT_TRUE(program.ops()[program.DefinitionOf(gradient)].Is(kMseGrad));
  EXPECT_EQ(program.ops()[program.DefinitionOf(gradient)].inputs, on_shard);
  EXPECT_EQ(program.UsesOf(program.Find("y").value()), 1);  // as a result
  EXPECT_FALSE(program.Find("dy").ok());
  // One slice of the targets serves both.
  const auto redistributes = Redistributes(program);
  EXPECT_EQ(std::count(redistributes.begin(), redistributes.end(),
                       "forward targets.shard: tp Replicate -> Shard(1)"),
            1);
}

TEST(ComputeLossOnShards, LeavesWhatIsNotGathered) {
  Program program = Step(LinearMode::kColumn);
  const std::string before = ToString(program);
  ComputeLossOnShards(program);
  EXPECT_EQ(ToString(program), before);
}

TEST(ComputeLossOnShards, LeavesALossThatAnOpReads) {
  Program program;
  const ValueId shard = Input(program, "shard", {4, 6}, Placements(Shard(1), Shard(0)));
  const ValueId whole =
      AddRedistribute(program, kForward, "whole", shard, Axis::kTp, Replicate()).value();
  const ValueId t = Input(program, "t", {4, 6}, On(Axis::kDp, Shard(0)));
  const ValueId loss = AddMseLoss(program, kForward, "loss", whole, t, 1).value();
  const ValueId sum =
      AddRedistribute(program, kForward, "sum", loss, Axis::kDp, Replicate()).value();
  program.AddResult(sum);
  const std::string before = ToString(program);
  ComputeLossOnShards(program);
  EXPECT_EQ(ToString(program), before);
}

TEST(ComputeLossOnShards, LeavesAGradientThatIsNeededWhole) {
  for (bool as_result : {false, true}) {
    Gathered g = MakeGathered();
    const ValueId dy = AddMseGrad(g.program, kBackward, "dy", g.whole, g.targets, 1).value();
    g.program.AddResult(
        AddRedistribute(g.program, kBackward, "slice", dy, Axis::kTp, Shard(1)).value());
    g.program.AddResult(as_result ? dy : AddSumRows(g.program, kBackward, "sum", dy).value());
    const std::string before = ToString(g.program);
    ComputeLossOnShards(g.program);
    EXPECT_EQ(ToString(g.program), before);
  }
}

TEST(ComputeLossOnShards, KeepsASliceThatIsAResult) {
  Gathered g = MakeGathered();
  const ValueId dy = AddMseGrad(g.program, kBackward, "dy", g.whole, g.targets, 1).value();
  const ValueId slice =
      AddRedistribute(g.program, kBackward, "slice", dy, Axis::kTp, Shard(1)).value();
  g.program.AddResult(slice);
  ComputeLossOnShards(g.program);
  EXPECT_TRUE(Verify(g.program).ok()) << Verify(g.program).ToString();
  EXPECT_TRUE(g.program.ops()[g.program.DefinitionOf(slice)].Is(kMseGrad));
  EXPECT_EQ(g.program.value(slice).name, "slice");
}

TEST(ComputeLossOnShards, SlicesTheSameTargetsForEachShard) {
  Gathered g = MakeGathered();
  const ValueId rows = Input(g.program, "rows", {4, 6}, On(Axis::kTp, Shard(0)));
  const ValueId other =
      AddRedistribute(g.program, kForward, "other", rows, Axis::kTp, Replicate()).value();
  for (ValueId y : {g.whole, other}) {
    const std::string name = "loss of " + g.program.value(y).name;
    g.program.AddResult(AddMseLoss(g.program, kForward, name, y, g.targets, 1).value());
  }
  ComputeLossOnShards(g.program);
  EXPECT_TRUE(Verify(g.program).ok()) << Verify(g.program).ToString();
  for (ValueId id : g.program.results()) {
    EXPECT_TRUE(IsPartial(g.program.value(id).placements[Axis::kTp]));
  }
}

TEST(FuseLossAndGradient, ReadsTheSameValuesOnce) {
  Program program = Step(LinearMode::kColumn);
  FuseLossAndGradient(program);
  ASSERT_TRUE(Verify(program).ok()) << Verify(program).ToString();
  const Op& op = program.ops()[program.DefinitionOf(program.Find("loss").value())];
  EXPECT_TRUE(op.Is(kMseLossGrad));
  EXPECT_EQ(op.phase, kForward);
  EXPECT_EQ(op.outputs,
            (std::vector<ValueId>{program.Find("loss").value(), program.Find("dy").value()}));
  EXPECT_EQ(program.ops().size(), Step(LinearMode::kColumn).ops().size() - 1);
}

TEST(FuseLossAndGradient, LeavesOtherScalesAndOtherValues) {
  Program program;
  const ValueId y = Input(program, "y", {4, 6});
  const ValueId t = Input(program, "t", {4, 6});
  static_cast<void>(AddMseLoss(program, kForward, "loss", y, t, 1).value());
  static_cast<void>(AddMseGrad(program, kBackward, "scaled", y, t, 2).value());
  static_cast<void>(AddMseGrad(program, kBackward, "swapped", t, y, 1).value());
  const std::string before = ToString(program);
  FuseLossAndGradient(program);
  EXPECT_EQ(ToString(program), before);
}

TEST(FuseBias, PutsTheBiasIntoTheProduct) {
  Program program = Step(LinearMode::kRow);
  FuseBias(program);
  ASSERT_TRUE(Verify(program).ok()) << Verify(program).ToString();
  const Op& op = program.ops()[program.DefinitionOf(program.Find("y.shard").value())];
  EXPECT_TRUE(op.Is(kMatMul));
  EXPECT_EQ(op.attributes.Text("letters"), "mk,nk + n -> mn");
  EXPECT_EQ(op.inputs, (std::vector<ValueId>{program.Find("x").value(), program.Find("w").value(),
                                             program.Find("b").value()}));
  EXPECT_FALSE(program.Find("xw").ok());
}

TEST(FuseBias, PutsABiasThatFollowsAnAllReduceIntoOneRanksPart) {
  Program program = Step(LinearMode::kColumn);
  FuseBias(program);
  ASSERT_TRUE(Verify(program).ok()) << Verify(program).ToString();
  const ValueId partial = program.Find("xw.partial").value();
  const Op& product = program.ops()[program.DefinitionOf(partial)];
  ASSERT_EQ(product.inputs.size(), 3u);
  const Value& bias = program.value(product.inputs[2]);
  EXPECT_EQ(bias.name, "b.once");
  EXPECT_EQ(bias.placements, Placements(Partial(), Replicate()));
  const Op& sum = program.ops()[program.DefinitionOf(program.Find("y").value())];
  EXPECT_TRUE(sum.Is(kRedistribute));
  EXPECT_EQ(sum.inputs, std::vector<ValueId>{partial});
  EXPECT_FALSE(program.Find("xw").ok());
}

// Scattered, the sum's bias lies as its rows or columns do.
TEST(FuseBias, LeavesABiasThatFollowsAReduceScatter) {
  Program program;
  const ValueId x = Input(program, "x", {4, 6}, Placements(Shard(1), Replicate()));
  const ValueId b = Input(program, "b", {4});
  const ValueId product =
      AddMatMul(program, kForward, "product", x, x, {.transpose_b = true}).value();
  const ValueId sum =
      AddRedistribute(program, kForward, "sum", product, Axis::kTp, Shard(0)).value();
  program.AddResult(AddBias(program, kForward, "y", sum, b).value());
  const std::string before = ToString(program);
  FuseBias(program);
  EXPECT_EQ(ToString(program), before);
}

TEST(FuseBias, LeavesAProductThatSomeoneElseReads) {
  for (bool as_result : {false, true}) {
    Program program;
    const ValueId x = Input(program, "x", {4, 6});
    const ValueId b = Input(program, "b", {4});
    const ValueId product =
        AddMatMul(program, kForward, "product", x, x, {.transpose_b = true}).value();
    program.AddResult(AddBias(program, kForward, "y", product, b).value());
    program.AddResult(as_result ? product : AddSumRows(program, kForward, "sum", product).value());
    const std::string before = ToString(program);
    FuseBias(program);
    EXPECT_EQ(ToString(program), before);
  }
}

TEST(FuseBias, LeavesAProductWhoseOperandIsUpdatedBeforeTheBias) {
  Program program;
  const ValueId w = Parameter(program, "w", {4, 4});
  const ValueId b = Input(program, "b", {4});
  const ValueId g = Input(program, "g", {4, 4});
  const ValueId product = AddMatMul(program, kForward, "product", g, w, {}).value();
  static_cast<void>(AddSgdUpdate(program, Phase::kOptimizer, "new", w, g, 1).value());
  program.AddResult(AddBias(program, kForward, "y", product, b).value());
  FuseBias(program);
  EXPECT_TRUE(Verify(program).ok()) << Verify(program).ToString();
}

TEST(DropDeadOps, DropsWhatNothingNeeds) {
  Program program;
  const ValueId x = Input(program, "x", {4, 4});
  Input(program, "unused", {4, 4});
  const ValueId w = Parameter(program, "w", {4, 4});
  const ValueId y = AddMatMul(program, kForward, "y", x, w, {}).value();
  const ValueId dead = AddMatMul(program, kForward, "dead", x, y, {}).value();
  static_cast<void>(AddSumRows(program, kForward, "dead too", dead).value());
  const ValueId g = AddMatMul(program, kBackward, "g", y, x, {}).value();
  static_cast<void>(AddSgdUpdate(program, Phase::kOptimizer, "new", w, g, 1).value());
  const ValueId result = AddSumRows(program, kForward, "result", x).value();
  program.AddResult(result);
  DropDeadOps(program);
  EXPECT_TRUE(Verify(program).ok());
  EXPECT_THAT(OpNames(program), ElementsAre("matmul", "matmul", "sgd_update", "sum_rows"));
  EXPECT_EQ(program.ops().size(), 7u);  // the sources stay, the unused one too
}

// The order in which the backward pass of the seed's row step computes its gradients.
std::vector<std::string> GradientOrder(const Program& program) {
  std::vector<std::string> names;
  for (const Op& op : program.ops()) {
    if (!op.Is(kMatMul) && !op.Is(kSumRows)) continue;
    if (op.phase == kBackward) names.push_back(program.value(op.outputs[0]).name);
  }
  return names;
}

TEST(StartCommunicationEarly, ComputesFirstWhatMovesMost) {
  // Without dp only dx is reduced; with it dw is, which is larger.
  Program program = Step(LinearMode::kRow);
  EXPECT_THAT(GradientOrder(program), ElementsAre("db.partial", "dx.partial", "dw.partial"));
  StartCommunicationEarly(program, MeshOf(2, 1));
  EXPECT_THAT(GradientOrder(program), ElementsAre("dx.partial", "dw.partial", "db.partial"));
  program = Step(LinearMode::kRow);
  StartCommunicationEarly(program, MeshOf(2, 2));
  EXPECT_THAT(GradientOrder(program), ElementsAre("dw.partial", "dx.partial", "db.partial"));
  EXPECT_TRUE(Verify(program).ok());
}

TEST(StartCommunicationEarly, StartsACollectiveRightBehindItsProducer) {
  for (LinearMode mode : {LinearMode::kRow, LinearMode::kColumn}) {
    Program program = Step(mode);
    StartCommunicationEarly(program, MeshOf(2, 2));
    for (const char* name : {"dx", "dw", "db"}) {
      const int at = program.DefinitionOf(program.Find(name).value());
      const Op& op = program.ops()[at];
      ASSERT_TRUE(op.Is(kRedistribute)) << name;
      EXPECT_EQ(program.DefinitionOf(op.inputs[0]), at - 1) << name;
    }
  }
}

TEST(StartCommunicationEarly, LeavesAProgramThatDoesNotCommunicate) {
  for (LinearMode mode : {LinearMode::kRow, LinearMode::kColumn}) {
    Program program = Step(mode);
    const std::string before = ToString(program);
    StartCommunicationEarly(program, MeshOf(1, 1));
    EXPECT_EQ(ToString(program), before);
  }
}

// An update waits for reads of a slice of the parameter, which is a view of it.
TEST(StartCommunicationEarly, UpdatesAfterReadsThroughAView) {
  Program program;
  const ValueId w = Parameter(program, "w", {4, 4});
  const ValueId g = Input(program, "g", {4, 4});
  const ValueId slice = AddRedistribute(program, kForward, "slice", w, Axis::kTp, Shard(0)).value();
  program.AddResult(AddSumRows(program, Phase::kOptimizer, "sum", slice).value());
  const ValueId updated = AddSgdUpdate(program, kForward, "new", w, g, 1).value();
  program.AddResult(updated);
  ASSERT_TRUE(Verify(program).ok());
  StartCommunicationEarly(program, MeshOf(2, 1));
  EXPECT_TRUE(Verify(program).ok()) << Verify(program).ToString();
}

TEST(Optimize, LeavesTheStepsAsFewOpsAsTheyNeed) {
  EXPECT_THAT(OpNames(Step(LinearMode::kRow, true)),
              ElementsAre("matmul", "redistribute", "redistribute", "mse_loss_grad", "matmul",
                          "redistribute", "matmul", "redistribute", "sum_rows", "redistribute",
                          "sgd_update", "sgd_update"));
  EXPECT_THAT(OpNames(Step(LinearMode::kColumn, true)),
              ElementsAre("redistribute", "redistribute", "matmul", "redistribute", "mse_loss_grad",
                          "matmul", "redistribute", "matmul", "redistribute", "sum_rows",
                          "redistribute", "sgd_update", "sgd_update"));
}

}  // namespace
}  // namespace tp
