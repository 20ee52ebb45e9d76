#include "tp/program/typing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <optional>

#include "tests/program/programs.h"
#include "tp/ops/ops.h"

namespace tp {
namespace {

using testing::HasSubstr;

// Short, for the tables below.
const Placement kR = Replicate();
const Placement kS0 = Shard(0);
const Placement kS1 = Shard(1);
const Placement kP = Partial();
const std::optional<Placement> kNo = std::nullopt;

using Table = std::vector<std::vector<std::optional<Placement>>>;

const std::vector<Placement> kMatrix = {kR, kS0, kS1, kP};
const std::vector<Placement> kVector = {kR, kS0, kP};

std::string Case(Axis axis, Placement a, Placement b) {
  return std::string(Name(axis)) + ": " + ToString(a) + ", " + ToString(b);
}

// Checks one op of two inputs against its table on each axis. `build` makes the op from the
// placements of its operands, which are called "left" and "right"; `advice` is part of every
// refusal.
using Build = std::function<StatusOr<ValueId>(Program&, Placements, Placements)>;

void CheckTable(const std::vector<Placement>& left, const std::vector<Placement>& right,
                const Table& table, const std::string& advice, const Build& build) {
  for (Axis axis : kDefaultAxes) {
    const Axis other = axis == Axis::kTp ? Axis::kDp : Axis::kTp;
    for (size_t i = 0; i < left.size(); ++i) {
      for (size_t j = 0; j < right.size(); ++j) {
        SCOPED_TRACE(Case(axis, left[i], right[j]));
        Program program;
        const StatusOr<ValueId> out = build(program, On(axis, left[i]), On(axis, right[j]));
        if (table[i][j]) {
          ASSERT_TRUE(out.ok()) << out.status().ToString();
          EXPECT_EQ(program.value(*out).placements[axis], *table[i][j]);
          EXPECT_TRUE(IsReplicate(program.value(*out).placements[other]));
          EXPECT_TRUE(Verify(program).ok()) << Verify(program).ToString();
          continue;
        }
        ASSERT_FALSE(out.ok());
        EXPECT_EQ(out.status().code(), StatusCode::kInvalidArgument);
        const std::string& message = out.status().message();
        EXPECT_THAT(message, HasSubstr("'out'"));
        EXPECT_THAT(message, HasSubstr("on axis " + std::string(Name(axis))));
        EXPECT_THAT(message, HasSubstr("'left' is " + ToString(left[i])));
        EXPECT_THAT(message, HasSubstr("'right' is " + ToString(right[j])));
        EXPECT_THAT(message, HasSubstr(advice));
        EXPECT_EQ(program.ops().size(), 2u) << "a refused op stayed in the program";
        EXPECT_EQ(program.values().size(), 2u);
      }
    }
  }
}

// Sharded rows of a^T are sharded columns of a.
Placement Swapped(Placement p) { return IsShard(p) ? Shard(1 - p.dim) : p; }

TEST(MatMulRule, HoldsForEveryPairOfPlacements) {
  // A row for each placement of a, a column for each of b.
  const Table table = {
      {kR, kNo, kS1, kP}, {kS0, kNo, kNo, kNo}, {kNo, kP, kNo, kNo}, {kP, kNo, kNo, kNo}};
  for (bool transpose_a : {false, true}) {
    for (bool transpose_b : {false, true}) {
      SCOPED_TRACE(testing::Message() << transpose_a << transpose_b);
      for (Axis axis : kDefaultAxes) {
        for (size_t i = 0; i < 4; ++i) {
          for (size_t j = 0; j < 4; ++j) {
            SCOPED_TRACE(Case(axis, kMatrix[i], kMatrix[j]));
            Program program;
            const Placement on_a = transpose_a ? Swapped(kMatrix[i]) : kMatrix[i];
            const Placement on_b = transpose_b ? Swapped(kMatrix[j]) : kMatrix[j];
            const ValueId a =
                Input(program, "left", transpose_a ? Shape{5, 3} : Shape{3, 5}, On(axis, on_a));
            const ValueId b =
                Input(program, "right", transpose_b ? Shape{7, 5} : Shape{5, 7}, On(axis, on_b));
            const auto out =
                AddMatMul(program, Phase::kForward, "out", a, b, {transpose_a, transpose_b});
            ASSERT_EQ(out.ok(), table[i][j].has_value()) << out.status().ToString();
            if (!out.ok()) continue;
            EXPECT_EQ(program.value(*out).placements, On(axis, *table[i][j]));
            EXPECT_EQ(program.value(*out).shape, (Shape{3, 7}));
          }
        }
      }
    }
  }
  CheckTable(kMatrix, kMatrix, table, "neither a shard nor a partial sum",
             [](Program& program, Placements on_a, Placements on_b) {
               const ValueId a = Input(program, "left", {3, 5}, on_a);
               const ValueId b = Input(program, "right", {5, 7}, on_b);
               return AddMatMul(program, Phase::kForward, "out", a, b, {});
             });
}

TEST(AddBiasRule, HoldsForEveryPairOfPlacements) {
  // A row for each placement of y, a column for each of b.
  const Table table = {{kR, kNo, kNo}, {kS0, kNo, kNo}, {kNo, kS1, kNo}, {kNo, kNo, kP}};
  CheckTable(kMatrix, kVector, table, "", [](Program& program, Placements on_y, Placements on_b) {
    const ValueId y = Input(program, "left", {3, 5}, on_y);
    const ValueId b = Input(program, "right", {5}, on_b);
    return AddBias(program, Phase::kForward, "out", y, b);
  });
}

TEST(AddBiasRule, SaysWhyAPartialValueTakesNoBias) {
  Program program;
  const ValueId y = Input(program, "y", {3, 5}, On(Axis::kTp, kP));
  const ValueId b = Input(program, "b", {5});
  EXPECT_EQ(
      AddBias(program, Phase::kForward, "z", y, b).status().message(),
      "add_bias 'z': on axis tp, 'y' is Partial and 'b' is Replicate; the bias must lie as the "
      "columns do; the letters are mn + n -> mn: 'y' as Replicate or 'y' as Shard(0) or 'b' as "
      "Partial would do; what every rank adds to parts of a sum would be counted once a rank: "
      "redistribute the partial value first");
}

// The bias operand of a product is held to the same rule as an add_bias of it.
TEST(MatMulRule, ABiasOperandFollowsTheBiasRule) {
  for (Placement on_b : kVector) {
    Program program;
    const ValueId x = Input(program, "x", {3, 4}, On(Axis::kTp, kS1));
    const ValueId w = Input(program, "w", {4, 5}, On(Axis::kTp, kS0));
    const ValueId b = Input(program, "b", {5}, On(Axis::kTp, on_b));
    Op op;
    op.def = &kMatMul;
    op.inputs = {x, w, b};
    op.attributes = {{"letters", "mk,kn + n -> mn"}};
    const auto outputs = InferOutputs(program, op);
    ASSERT_EQ(outputs.ok(), IsPartial(on_b)) << ToString(on_b);
    if (outputs.ok()) continue;
    EXPECT_THAT(outputs.status().message(), HasSubstr("once a rank"));
  }
}

TEST(MseRule, HoldsForEveryPairOfPlacements) {
  // A row for each placement of y, a column for each of t.
  const Table loss = {
      {kR, kNo, kNo, kNo}, {kNo, kP, kNo, kNo}, {kNo, kNo, kP, kNo}, {kNo, kNo, kNo, kNo}};
  const Table gradient = {
      {kR, kNo, kNo, kNo}, {kNo, kS0, kNo, kNo}, {kNo, kNo, kS1, kNo}, {kNo, kNo, kNo, kNo}};
  CheckTable(kMatrix, kMatrix, loss, "not linear",
             [](Program& program, Placements on_y, Placements on_t) {
               const ValueId y = Input(program, "left", {3, 5}, on_y);
               const ValueId t = Input(program, "right", {3, 5}, on_t);
               return AddMseLoss(program, Phase::kForward, "out", y, t, 0.5);
             });
  CheckTable(kMatrix, kMatrix, gradient, "not linear",
             [](Program& program, Placements on_y, Placements on_t) {
               const ValueId y = Input(program, "left", {3, 5}, on_y);
               const ValueId t = Input(program, "right", {3, 5}, on_t);
               return AddMseGrad(program, Phase::kBackward, "out", y, t, 0.5);
             });
}

TEST(MseRule, TheLossIsAScalarOfTheAccumulatorsType) {
  for (DType dtype : kAllDTypes) {
    Program program;
    const ValueId y = Input(program, "y", {3, 5}, {}, dtype);
    const ValueId t = Input(program, "t", {3, 5}, {}, dtype);
    Op op;
    op.def = &kMseLossGrad;
    op.inputs = {y, t};
    op.attributes = {{"scale", 0.5}};
    const auto outputs = InferOutputs(program, op).value();
    ASSERT_EQ(outputs.size(), 2u);
    EXPECT_EQ(outputs[0].shape, Shape{});
    EXPECT_EQ(outputs[0].dtype, AccumulatorOf(dtype));
    EXPECT_EQ(outputs[1].shape, (Shape{3, 5}));
    EXPECT_EQ(outputs[1].dtype, dtype);
  }
}

TEST(SumRowsRule, HoldsForEveryPlacement) {
  const std::vector<Placement> expected = {kR, kP, kS0, kP};
  for (Axis axis : kDefaultAxes) {
    for (size_t i = 0; i < kMatrix.size(); ++i) {
      Program program;
      const ValueId g = Input(program, "g", {3, 5}, On(axis, kMatrix[i]));
      const ValueId sum = AddSumRows(program, Phase::kBackward, "out", g).value();
      EXPECT_EQ(program.value(sum).placements, On(axis, expected[i])) << ToString(kMatrix[i]);
      EXPECT_EQ(program.value(sum).shape, Shape{5});
    }
  }
}

TEST(SgdRule, HoldsForEveryPairOfPlacements) {
  // A row for each placement of w, a column for each of the gradient.
  const Table table = {
      {kR, kNo, kNo, kNo}, {kNo, kS0, kNo, kNo}, {kNo, kNo, kS1, kNo}, {kNo, kNo, kNo, kNo}};
  CheckTable(kMatrix, kMatrix, table, "needs the whole gradient",
             [](Program& program, Placements on_w, Placements on_g) {
               const ValueId w = Parameter(program, "left", {3, 5}, on_w);
               const ValueId g = Input(program, "right", {3, 5}, on_g);
               return AddSgdUpdate(program, Phase::kOptimizer, "out", w, g, 0.5);
             });
}

// On two axes at once, each by its own rule.
TEST(Rules, AxesAreIndependent) {
  Program program;
  const ValueId g = Input(program, "g", {3, 5}, Placements(kS1, kS0));
  const ValueId x = Input(program, "x", {3, 7}, Placements(kR, kS0));
  const ValueId dw =
      AddMatMul(program, Phase::kBackward, "dw", g, x, {.transpose_a = true}).value();
  EXPECT_EQ(program.value(dw).placements, Placements(kS0, kP));
  const ValueId db = AddSumRows(program, Phase::kBackward, "db", g).value();
  EXPECT_EQ(program.value(db).placements, Placements(kS0, kP));
}

Placements CutBy(std::vector<Axis> axes, int dim) {
  Placements placements;
  for (const Axis& axis : axes) placements.Set(axis, Shard(dim));
  return placements;
}

TEST(Rules, KeepTheOrderInWhichAxesCutALetter) {
  Program program;
  const auto f = Phase::kForward;
  const Axis kv = Axis::Named("kv").value();
  for (const std::vector<Axis>& order : {std::vector<Axis>{Axis::kTp, Axis::kDp},
                                         {Axis::kDp, Axis::kTp},
                                         {kv, Axis::kDp, Axis::kTp}}) {
    const std::string name = "x" + std::to_string(program.values().size());
    const ValueId x = Input(program, name, {3, 5}, CutBy(order, 0));
    const ValueId w = Input(program, name + ".w", {5, 7});
    const ValueId y = AddMatMul(program, f, name + ".y", x, w, {}).value();
    EXPECT_EQ(program.value(y).placements, CutBy(order, 0));
    // Moved to another dimension, and summed over.
    const ValueId t =
        AddOp(program, f, name + ".t", kMatMul, {w, x}, {{"letters", "kn,mk -> nm"}}).value();
    EXPECT_EQ(program.value(t).placements, CutBy(order, 1));
    const ValueId sum = AddSumRows(program, f, name + ".sum", y).value();
    for (const Axis& axis : order) EXPECT_EQ(program.value(sum).placements[axis], kP);
  }
  const ValueId a = Input(program, "a", {3, 5}, CutBy({Axis::kTp, Axis::kDp}, 0));
  const ValueId b = Input(program, "b", {3, 5}, CutBy({Axis::kDp, Axis::kTp}, 0));
  EXPECT_THAT(AddOp(program, f, "sum", kAdd, {a, b}).status().message(),
              HasSubstr("is cut by tp, then dp in 'a' and by dp, then tp in 'b'; the order must be "
                        "one"));
}

TEST(Rules, RefuseShapesAndTypesThatDoNotFit) {
  Program program;
  const ValueId a = Input(program, "a", {3, 5});
  const ValueId b = Input(program, "b", {6, 7});
  const ValueId v = Input(program, "v", {5});
  const ValueId u = Input(program, "u", {4});
  const ValueId half = Input(program, "half", {5, 3}, {}, DType::kBFloat16);
  const ValueId half_w = Input(program, "half_w", {3, 5}, {}, DType::kBFloat16);
  const ValueId half_v = Input(program, "half_v", {5}, {}, DType::kBFloat16);
  const ValueId w = Parameter(program, "w", {3, 5});
  const auto f = Phase::kForward;
  const struct {
    Status status;
    const char* part;
  } cases[] = {
      {AddMatMul(program, f, "o", a, b, {}).status(), "the sizes of 'k' must be alike"},
      {AddMatMul(program, f, "o", a, v, {}).status(), "'v' has shape [5]; it needs 2 dimensions"},
      {AddMatMul(program, f, "o", a, half, {}).status(), "'a' is fp32 and 'half' is bf16"},
      {AddBias(program, f, "o", a, u).status(),
       "'u' has shape [4]; in mn + n -> mn the sizes of 'n' must be alike"},
      {AddBias(program, f, "o", a, half_v).status(), "they must be alike"},
      {AddBias(program, f, "o", v, v).status(), "'v' has shape [5]; it needs 2 dimensions"},
      {AddBias(program, f, "o", a, a).status(), "it needs 1 dimensions"},
      {AddMseLoss(program, f, "o", a, b, 1).status(), "'b' has shape [6, 7]; in AB,AB ->"},
      {AddMseGrad(program, f, "o", a, half_w, 1).status(), "'half_w' is bf16; they must be alike"},
      {AddSumRows(program, f, "o", v).status(), "it needs 2 dimensions"},
      {AddSgdUpdate(program, f, "o", w, b, 1).status(), "must be alike"},
      {AddSgdUpdate(program, f, "o", w, half_w, 1).status(), "they must be alike"},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(c.status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(c.status.message(), HasSubstr(c.part));
  }
  EXPECT_EQ(program.ops().size(), 8u);
}

TEST(Rules, TakeIdsWhereTheyAreIds) {
  Program program;
  const ValueId ids = Input(program, "ids", {3}, {}, DType::kInt32);
  const ValueId table = Input(program, "table", {5, 2}, On(Axis::kTp, Shard(0)), DType::kBFloat16);
  const auto add = [&](const OpDef& def, std::vector<ValueId> inputs) {
    return AddOp(program, Phase::kForward, "y", def, std::move(inputs));
  };
  const auto rows = add(kEmbedding, {ids, table});
  ASSERT_TRUE(rows.ok()) << rows.status().ToString();
  EXPECT_EQ(program.value(*rows).dtype, DType::kBFloat16);
  EXPECT_EQ(program.value(*rows).placements, On(Axis::kTp, Partial()));
  EXPECT_THAT(add(kAdd, {ids, ids}).status().message(),
              HasSubstr("'ids' is int32, in which nothing is computed"));
  const ValueId numbers = Input(program, "numbers", {3}, {}, DType::kBFloat16);
  EXPECT_THAT(add(kEmbedding, {numbers, table}).status().message(),
              HasSubstr("'numbers' is bf16; it must be int32"));
  EXPECT_THAT(AddParameter(program, {"w", {3}, DType::kInt32, {}}).status().message(),
              HasSubstr("'w' is int32, which only an input can be"));
  constexpr char kNoSum[] = "is int32 and Partial on tp; nothing is summed in int32";
  EXPECT_THAT(
      AddRedistribute(program, Phase::kForward, "y", ids, Axis::kTp, Partial()).status().message(),
      HasSubstr(kNoSum));
  EXPECT_THAT(
      AddInput(program, {"s", {3}, DType::kInt32, On(Axis::kTp, Partial())}).status().message(),
      HasSubstr(kNoSum));
}

TEST(Rules, SayWhatIsAMaximum) {
  Program program;
  const ValueId x = Input(program, "x", {3, 4}, On(Axis::kTp, Shard(1)));
  const ValueId max = AddOp(program, Phase::kForward, "max", kRowMax, {x}).value();
  EXPECT_EQ(program.value(max).placements, On(Axis::kTp, Partial(Reduction::kMax)));
  // It is no sum, so nothing that is linear takes it for one.
  EXPECT_FALSE(AddOp(program, Phase::kForward, "sum", kAdd, {max, max}).ok());
}

TEST(Rules, RefuseAWrongNumberOfInputs) {
  Program program;
  const ValueId a = Input(program, "a", {3, 3});
  for (const OpDef* def : AllOps()) {
    Op op;
    op.def = def;
    if (def->letters.empty()) op.attributes.Set("letters", "mk,kn -> mn");
    for (const AttributeDef& attribute : def->attributes) {
      if (attribute.name.empty()) break;
      const Attribute values[] = {0.5, int64_t{1}, std::string("fp32")};
      op.attributes.Set(attribute.name, values[static_cast<size_t>(attribute.type)]);
    }
    const auto wanted = Letters::Parse(def->letters.empty() ? "mk,kn -> mn" : def->letters)
                            .value()
                            .operands()
                            .size();
    op.inputs.assign(wanted + 1, a);
    EXPECT_THAT(
        InferOutputs(program, op).status().message(),
        HasSubstr("takes " + std::to_string(wanted) + " inputs, not " + std::to_string(wanted + 1)))
        << def->name;
  }
}

}  // namespace
}  // namespace tp
