// Verify against damage: a sound program, one thing broken in it, everywhere it can be broken.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/program/programs.h"
#include "tp/layers/linear.h"
#include "tp/model/linear_step.h"
#include "tp/ops/ops.h"
#include "tp/program/program.h"

namespace tp {
namespace {

using testing::HasSubstr;

class VerifyDamage : public testing::TestWithParam<std::tuple<LinearMode, bool>> {
 protected:
  Program Sound() const {
    LinearStepOptions options;
    options.mode = std::get<0>(GetParam());
    options.optimize = std::get<1>(GetParam());
    options.tokens = 6;
    options.in_features = 5;
    options.out_features = 7;
    Program program = MakeLinearStep(options, Mesh::Create(2, 2).value()).value();
    EXPECT_TRUE(Verify(program).ok());
    return program;
  }

  int NumOps() const { return static_cast<int>(Sound().ops().size()); }

  // Whether `id` may lie any way: it is declared to, and nothing but a redistribute reads it.
  static bool IsFree(const Program& program, ValueId id) {
    const Op& definition = program.ops()[program.DefinitionOf(id)];
    if (!definition.IsSource() && !definition.Is(kRedistribute)) return false;
    return std::none_of(program.ops().begin(), program.ops().end(), [&](const Op& op) {
      return !op.Is(kRedistribute) &&
             std::find(op.inputs.begin(), op.inputs.end(), id) != op.inputs.end();
    });
  }
};

TEST_P(VerifyDamage, AnyOtherPlacementOfAnyValue) {
  int damages = 0;
  for (int i = 0; i < NumOps(); ++i) {
    const Program sound = Sound();
    const Op& op = sound.ops()[i];
    for (ValueId id : op.outputs) {
      if (IsFree(sound, id)) continue;
      for (Axis axis : kDefaultAxes) {
        for (Placement placement : AllPlacements()) {
          if (placement == sound.value(id).placements[axis]) continue;
          Program program = sound;
          program.mutable_value(id).placements.Set(axis, placement);
          EXPECT_FALSE(Verify(program).ok())
              << sound.value(id).name << " as " << ToString(placement) << " on " << Name(axis);
          ++damages;
        }
      }
    }
  }
  EXPECT_GT(damages, 50);
}

TEST_P(VerifyDamage, AnyOtherShapeOrTypeOfAnyValue) {
  for (int i = 0; i < NumOps(); ++i) {
    const Program sound = Sound();
    for (ValueId id : sound.ops()[i].outputs) {
      Program program = sound;
      program.mutable_value(id).dtype = DType::kFloat64;
      EXPECT_FALSE(Verify(program).ok()) << program.value(id).name;
      program = sound;
      program.mutable_value(id).shape.push_back(2);
      EXPECT_FALSE(Verify(program).ok()) << program.value(id).name;
    }
  }
}

TEST_P(VerifyDamage, AnOpThatIsMissing) {
  for (int i = 0; i < NumOps(); ++i) {
    Program program = Sound();
    bool used = false;
    for (ValueId id : program.ops()[i].outputs) used = used || program.UsesOf(id) > 0;
    program.mutable_ops().erase(program.mutable_ops().begin() + i);
    EXPECT_EQ(Verify(program).ok(), !used) << i;
  }
}

TEST_P(VerifyDamage, AnOpThatRunsTwice) {
  for (int i = 0; i < NumOps(); ++i) {
    Program program = Sound();
    program.AddOp(program.ops()[i]);
    const Status status = Verify(program);
    EXPECT_THAT(status.message(), testing::AnyOf(HasSubstr("is written twice"),
                                                 HasSubstr("after the update of its memory")));
  }
}

TEST_P(VerifyDamage, AnOpThatRunsTooEarly) {
  for (int i = 0; i < NumOps(); ++i) {
    Program program = Sound();
    const Op op = program.ops()[i];
    if (op.IsSource()) continue;
    program.mutable_ops().erase(program.mutable_ops().begin() + i);
    program.mutable_ops().insert(program.mutable_ops().begin(), op);
    EXPECT_THAT(Verify(program).message(), HasSubstr("too early")) << op.def->name;
  }
}

TEST_P(VerifyDamage, AnUpdateBeforeTheLastRead) {
  Program program = Sound();
  const ValueId w = program.Find("w").value();
  const int update = program.UpdateOf(w);
  // A read of w that is put behind its update.
  int read = -1;
  for (int i = 0; i < update; ++i) {
    const auto& inputs = program.ops()[i].inputs;
    if (std::find(inputs.begin(), inputs.end(), w) != inputs.end()) read = i;
  }
  ASSERT_GE(read, 0);
  const Op op = program.ops()[read];
  program.mutable_ops().erase(program.mutable_ops().begin() + read);
  program.AddOp(op);
  EXPECT_FALSE(Verify(program).ok());
}

TEST_P(VerifyDamage, IdsThatAreNoValues) {
  for (ValueId id : {-1, 1000}) {
    for (int i = 0; i < NumOps(); ++i) {
      Program program = Sound();
      if (!program.ops()[i].inputs.empty()) {
        program.mutable_ops()[i].inputs[0] = id;
        EXPECT_THAT(Verify(program).message(), HasSubstr("an input is no value")) << i;
      }
      program = Sound();
      program.mutable_ops()[i].outputs[0] = id;
      EXPECT_THAT(Verify(program).message(), HasSubstr("an output is no value")) << i;
    }
    Program program = Sound();
    program.AddResult(id);
    EXPECT_THAT(Verify(program).message(), HasSubstr("is written by no op"));
  }
}

TEST_P(VerifyDamage, AWrongNumberOfInputsOrOutputs) {
  for (int i = 0; i < NumOps(); ++i) {
    Program program = Sound();
    program.mutable_ops()[i].outputs.clear();
    EXPECT_FALSE(Verify(program).ok()) << i;
    program = Sound();
    const ValueId first = program.ops()[0].outputs[0];
    for (int extra = 0; extra < 3; ++extra) program.mutable_ops()[i].inputs.push_back(first);
    EXPECT_FALSE(Verify(program).ok()) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Steps, VerifyDamage,
                         testing::Combine(testing::Values(LinearMode::kRow, LinearMode::kColumn),
                                          testing::Bool()),
                         [](const auto& param) {
                           return std::string(Name(std::get<0>(param.param))) +
                                  (std::get<1>(param.param) ? "_optimized" : "");
                         });

TEST(Verify, NamesTheOpAndTheRule) {
  Program program;
  const ValueId x = Input(program, "x", {4, 6});
  const ValueId w = Parameter(program, "w", {5, 6}, On(Axis::kTp, Shard(0)));
  const ValueId y = AddMatMul(program, Phase::kForward, "y", x, w, {.transpose_b = true}).value();
  program.mutable_value(y).placements.Set(Axis::kTp, Replicate());
  EXPECT_EQ(Verify(program).ToString(),
            "INVALID_ARGUMENT: matmul(x, w^T): 'y' is declared fp32 [4, 5] {tp: Replicate, dp: "
            "Replicate}, but the rule gives fp32 [4, 5] {tp: Shard(1), dp: Replicate}");
}

TEST(Verify, WantsANameOfItsOwnForEachValue) {
  Program program;
  static_cast<void>(Input(program, "x", {4, 6}));
  static_cast<void>(Input(program, "x", {4, 6}));
  EXPECT_EQ(
      Verify(program).message(),
      "input(): two values are called 'x'; give each a name of its own, such as 'layers.3.x'");
  program.mutable_value(1).name = "";
  EXPECT_EQ(Verify(program).message(), "input(): an output has no name");
  program.mutable_value(1).name = "y";
  EXPECT_TRUE(Verify(program).ok());
}

TEST(Verify, UpdatesParametersOnly) {
  Program program;
  const ValueId x = Input(program, "x", {4, 6});
  static_cast<void>(AddSgdUpdate(program, Phase::kOptimizer, "x.updated", x, x, 1).value());
  EXPECT_THAT(Verify(program).message(), HasSubstr("'x' is no parameter"));
}

TEST(Verify, UpdatesAParameterOnce) {
  Program program;
  const ValueId w = Parameter(program, "w", {4, 6});
  const ValueId g = Input(program, "g", {4, 6});
  static_cast<void>(AddSgdUpdate(program, Phase::kOptimizer, "w1", w, g, 1).value());
  static_cast<void>(AddSgdUpdate(program, Phase::kOptimizer, "w2", w, g, 1).value());
  EXPECT_THAT(Verify(program).message(), HasSubstr("reads 'w' after the update of its memory"));
}

// A slice of w is a view of w, and a gather of w may hold w itself.
TEST(Verify, SeesUpdatesThroughRedistributes) {
  for (bool as_result : {false, true}) {
    for (bool gather : {false, true}) {
      Program program;
      const Placement stored = gather ? Shard(0) : Replicate();
      const ValueId w = Parameter(program, "w", {4, 6}, On(Axis::kTp, stored));
      const ValueId g = Input(program, "g", {4, 6}, On(Axis::kTp, stored));
      const ValueId other = AddRedistribute(program, Phase::kForward, "other", w, Axis::kTp,
                                            gather ? Replicate() : Shard(1))
                                .value();
      static_cast<void>(AddSgdUpdate(program, Phase::kOptimizer, "new", w, g, 1).value());
      EXPECT_TRUE(Verify(program).ok());
      if (as_result) {
        program.AddResult(other);
        EXPECT_THAT(Verify(program).message(), HasSubstr("result 'other' is overwritten"));
      } else {
        static_cast<void>(AddSumRows(program, Phase::kForward, "sum", other).value());
        EXPECT_THAT(Verify(program).message(), HasSubstr("reads 'other' after the update"));
      }
    }
  }
}

TEST(Verify, AnUpdatedParameterCanBeAResultByItsNewName) {
  Program program;
  const ValueId w = Parameter(program, "w", {4, 6});
  const ValueId g = Input(program, "g", {4, 6});
  const ValueId updated = AddSgdUpdate(program, Phase::kOptimizer, "new", w, g, 1).value();
  program.AddResult(updated);
  EXPECT_TRUE(Verify(program).ok()) << Verify(program).ToString();
}

TEST(Verify, TheInvariantOrderSumsOverOneAxis) {
  Program program;
  Placements both;
  for (Axis axis : {Axis::kDp, Axis::kTp}) both.Set(axis, Shard(0));
  const ValueId x = Input(program, "x", {4, 3}, both);
  program.AddResult(AddSumRows(program, Phase::kForward, "sum", x).value());
  EXPECT_EQ(Verify(program).ToString(), "OK");
  program.set_sum_order(SumOrder::kInvariant);
  EXPECT_NE(Verify(program).ToString().find(
                "the invariant order of sums takes sums over one axis of the mesh; 'sum' is "
                "Partial on tp and dp"),
            std::string::npos)
      << Verify(program).ToString();
}

}  // namespace
}  // namespace tp
