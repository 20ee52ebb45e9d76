#include "tp/program/program.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tests/program/programs.h"
#include "tp/ops/ops.h"

namespace tp {
namespace {

TEST(Program, PrintsOneOpALine) {
  Program program;
  const ValueId x = Input(program, "x", {20, 30}, On(Axis::kDp, Shard(0)), DType::kBFloat16);
  const ValueId w = Parameter(program, "w", {10, 30}, On(Axis::kTp, Shard(0)), DType::kBFloat16);
  const ValueId y = AddMatMul(program, Phase::kForward, "y", x, w, {.transpose_b = true}).value();
  const ValueId whole =
      AddRedistribute(program, Phase::kForward, "whole", y, Axis::kTp, Replicate()).value();
  const ValueId dy = AddMseGrad(program, Phase::kBackward, "dy", whole, whole, 1).value();
  const ValueId db = AddSumRows(program, Phase::kBackward, "db", dy).value();
  static_cast<void>(
      AddRedistribute(program, Phase::kGradientSync, "db.sum", db, Axis::kDp, Replicate()).value());
  EXPECT_EQ(ToString(program),
            "x: bf16 [20, 30] {tp: Replicate, dp: Shard(0)} = input()  # forward\n"
            "w: bf16 [10, 30] {tp: Shard(0), dp: Replicate} = parameter()  # forward\n"
            "y: bf16 [20, 10] {tp: Shard(1), dp: Shard(0)} = matmul(x, w^T)  # forward\n"
            "whole: bf16 [20, 10] {tp: Replicate, dp: Shard(0)} = redistribute(y)  # forward\n"
            "dy: bf16 [20, 10] {tp: Replicate, dp: Shard(0)} = mse_grad(whole, whole, "
            "scale=1)  # backward\n"
            "db: bf16 [10] {tp: Replicate, dp: Partial} = sum_rows(dy)  # backward\n"
            "db.sum: bf16 [10] {tp: Replicate, dp: Replicate} = redistribute(db)"
            "  # gradient_sync\n");
}

TEST(Program, AnswersWhoWritesReadsAndUpdates) {
  Program program;
  const ValueId w = Parameter(program, "w", {4, 6});
  const ValueId g = Input(program, "g", {4, 6});
  const ValueId t = AddMatMul(program, Phase::kForward, "t", w, g, {.transpose_b = true}).value();
  EXPECT_EQ(program.UpdateOf(w), -1);
  const ValueId v = AddSgdUpdate(program, Phase::kOptimizer, "w.updated", w, g, 1).value();
  program.AddResult(t);
  EXPECT_EQ(program.DefinitionOf(t), 2);
  EXPECT_EQ(program.UpdateOf(w), 3);
  EXPECT_EQ(program.UpdateOf(g), -1);
  EXPECT_EQ(program.UsesOf(w), 2);
  EXPECT_EQ(program.UsesOf(t), 1);  // as a result
  EXPECT_EQ(program.UsesOf(v), 0);
  EXPECT_EQ(program.Find("t").value(), t);
  EXPECT_EQ(program.Find("u").status().ToString(), "NOT_FOUND: the program has no value named 'u'");
}

TEST(Program, FindsOnlyWhatAnOpWrites) {
  Program program;
  program.AddValue(Value{"ghost", {}, DType::kFloat32, {}});
  EXPECT_FALSE(program.Find("ghost").ok());
}

TEST(Program, SharersAreAChainOfRedistributes) {
  Program program;
  const ValueId w = Parameter(program, "w", {4, 6}, On(Axis::kTp, Shard(0)));
  const auto f = Phase::kForward;
  const ValueId a = AddRedistribute(program, f, "a", w, Axis::kTp, Replicate()).value();
  const ValueId b = AddRedistribute(program, f, "b", a, Axis::kDp, Shard(1)).value();
  const ValueId c = AddRedistribute(program, f, "c", w, Axis::kDp, Shard(1)).value();
  const ValueId sum = AddSumRows(program, f, "sum", a).value();
  static_cast<void>(AddRedistribute(program, f, "d", sum, Axis::kTp, Shard(0)).value());
  EXPECT_EQ(program.SharersOf(w), (std::vector<ValueId>{w, a, b, c}));
  EXPECT_EQ(program.SharersOf(b), std::vector<ValueId>{b});
}

// What is answered from the index is what a look at the whole program answers, however it grew.
void ExpectAnswersOf(const Program& program) {
  const auto& ops = program.ops();
  for (ValueId id = 0; id < static_cast<int>(program.values().size()); ++id) {
    std::vector<int> readers;
    int definition = -1;
    int update = -1;
    for (int i = 0; i < static_cast<int>(ops.size()); ++i) {
      for (ValueId in : ops[i].inputs) {
        if (in == id) readers.push_back(i);
      }
      for (ValueId out : ops[i].outputs) {
        if (out == id && definition < 0) definition = i;
      }
      for (int u = 0; u < ops[i].def->updates; ++u) {
        if (ops[i].inputs[u] == id && update < 0) update = i;
      }
    }
    EXPECT_EQ(program.ReadersOf(id), readers);
    if (definition >= 0) {
      EXPECT_EQ(program.DefinitionOf(id), definition);
    }
    EXPECT_EQ(program.UpdateOf(id), update);
    const auto& results = program.results();
    const auto as_result = std::count(results.begin(), results.end(), id);
    EXPECT_EQ(program.IsResult(id), as_result > 0);
    EXPECT_EQ(program.UsesOf(id), static_cast<int>(readers.size()) + as_result);
    const std::string& name = program.value(id).name;
    EXPECT_EQ(program.Find(name).ok(), definition >= 0);
    std::string free = name;
    const auto taken = [&](const Value& value) { return value.name == free; };
    for (int number = 2; std::any_of(program.values().begin(), program.values().end(), taken);
         ++number) {
      free = name + "." + std::to_string(number);
    }
    EXPECT_EQ(program.FreeName(name), free);
  }
}

TEST(Program, AnswersAsIfItLookedAtEveryOp) {
  std::mt19937 random(1);
  const auto below = [&](size_t n) { return static_cast<int>(random() % n); };
  for (int trial = 0; trial < 30; ++trial) {
    Program program;
    Parameter(program, "w", {4, 6});
    for (int step = 0; step < 30; ++step) {
      const ValueId a = below(program.values().size());
      const std::string name = program.FreeName(program.value(a).name);
      switch (below(8)) {
        case 0:
          Parameter(program, name, {4, 6});
          break;
        case 1:
          program.AddResult(a);
          break;
        case 2:
          program.Rename(a, program.FreeName(program.value(below(program.values().size())).name));
          break;
        case 3: {
          std::vector<Op> ops = program.ops();
          std::shuffle(ops.begin(), ops.end(), random);
          program.ReplaceOps(std::move(ops));
          break;
        }
        case 4:
          program.mutable_value(a).name = name;
          break;
        case 5:
          program.AddValue(program.value(a));
          program.DropLastValue();
          break;
        case 6:
          static_cast<void>(
              AddSgdUpdate(program, Phase::kOptimizer, name, a, below(program.values().size()), 1));
          break;
        default:
          static_cast<void>(AddRedistribute(program, Phase::kForward, name, a, Axis::kTp,
                                            below(2) == 0 ? Shard(0) : Replicate()));
      }
      ExpectAnswersOf(program);
    }
  }
}

TEST(ProgramDeathTest, AValueThatNoOpWritesHasNoDefinition) {
  Program program;
  const ValueId ghost = program.AddValue(Value{"ghost", {}, DType::kFloat32, {}});
  EXPECT_DEATH(program.DefinitionOf(ghost), "no op writes value 0 \\(ghost\\)");
}

}  // namespace
}  // namespace tp
