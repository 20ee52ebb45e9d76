// What passes do to the linear step; other programs: cases_test.cc.
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
