// Steps on the real CPU backend, held op by op: right ones pass, with bounds that are nearly
// reached, and each planted mistake is named at the op that makes it.
#include "tp/verify/op_by_op.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "backends/cpu/backend.h"
#include "tests/planted/edits.h"
#include "tests/planted/plant.h"
#include "tests/program/programs.h"
#include "tp/core/random.h"
#include "tp/model/linear_step.h"
#include "tp/ops/all.h"
#include "tp/ops/ops.h"
#include "tp/verify/observe.h"

namespace tp::verify {
namespace {

using Sources = std::map<std::string, ElementSource>;
using planted::Hooks;

Sources RandomSources(const Program& program) {
  Sources sources;
  uint64_t stream = 0;
  for (const Op& op : program.ops()) {
    if (!op.IsSource()) continue;
    const RandomTensor random(/*seed=*/3, stream++);
    sources[program.value(op.outputs[0]).name] = [random](int64_t i) {
      return random.Uniform(static_cast<uint64_t>(i));
    };
  }
  return sources;
}

Sources IntegerSources(const Program& program) {
  Sources sources;
  int64_t shift = 0;
  for (const Op& op : program.ops()) {
    if (!op.IsSource()) continue;
    shift += 3;
    sources[program.value(op.outputs[0]).name] = [shift](int64_t i) {
      return static_cast<double>((i * 5 + shift) % 3 - 1);
    };
  }
  return sources;
}

ObservedValues RunOnCpu(const Program& program, const Mesh& mesh, const Sources& sources,
                        const Hooks& hooks = {}, int steps_before = 0) {
  planted::PlantedBackend backend(hooks, mesh, sources, {});
  StatusOr<ObservedValues> observed =
      Observe(backend, mesh, program, sources, {.steps_before = steps_before});
  EXPECT_TRUE(observed.ok()) << observed.status().ToString();
  return *std::move(observed);
}

OpByOpReport Held(const Program& program, const Mesh& mesh, const ObservedValues& observed,
                  const OpByOpOptions& options = {}) {
  StatusOr<OpByOpReport> report = VerifyOpByOp(program, mesh, observed, options);
  EXPECT_TRUE(report.ok()) << report.status().ToString();
  return *std::move(report);
}

LinearStepOptions SmallStep(LinearMode mode, DType dtype) {
  LinearStepOptions options;
  options.mode = mode;
  options.dtype = dtype;
  options.tokens = 12;
  options.in_features = 42;
  options.out_features = 30;
  options.learning_rate = 0.3;
  return options;
}

TEST(OpByOp, RightStepsHoldInEveryTypeAndOrder) {
  for (DType dtype : kAllDTypes) {
    double worst = 0;
    double worst_product = 0;
    for (LinearMode mode : {LinearMode::kRow, LinearMode::kColumn}) {
      for (const auto& [tp, dp] : {std::pair(1, 1), std::pair(3, 2), std::pair(4, 1)}) {
        for (SumOrder order : {SumOrder::kFast, SumOrder::kInvariant}) {
          for (bool optimize : {false, true}) {
            const Mesh mesh = Mesh::Create(tp, dp).value();
            LinearStepOptions options = SmallStep(mode, dtype);
            options.sum_order = order;
            options.optimize = optimize;
            const Program program = MakeLinearStep(options, mesh).value();
            const auto observed = RunOnCpu(program, mesh, RandomSources(program), {}, 2);
            const OpByOpReport report = Held(program, mesh, observed);
            EXPECT_EQ(report.outcome(), Outcome::kOk) << ToString(report);
            worst = std::max(worst, report.worst_ratio());
            for (const OpReport& value : report.values) {
              EXPECT_NE(value.what.find(value.name), std::string::npos) << value.what;
              if (value.what.find("= matmul") == std::string::npos) continue;
              worst_product = std::max(worst_product, value.ratio);
            }
          }
        }
      }
    }
    std::cout << Name(dtype) << ": worst error/bound " << worst << ", of products " << worst_product
              << "\n";
    // A bound that nothing comes near could not fail. In fp64 the reference rounds as much as what
    // it judges.
    EXPECT_GT(worst, dtype == DType::kFloat64 ? 0.2 : 0.9) << Name(dtype);
  }
}

TEST(OpByOp, SmallIntegersAreExactAndSoIsTheirBound) {
  for (LinearMode mode : {LinearMode::kRow, LinearMode::kColumn}) {
    const Mesh mesh = Mesh::Create(3, 2).value();
    LinearStepOptions options = SmallStep(mode, DType::kFloat32);
    options.learning_rate = 0.5;
    options.loss_scale = 0.5;
    const Program program = MakeLinearStep(options, mesh).value();
    const auto observed = RunOnCpu(program, mesh, IntegerSources(program));
    const OpByOpReport report = Held(program, mesh, observed, {.lane = Lane::kExact});
    EXPECT_EQ(report.outcome(), Outcome::kOk) << ToString(report);
    for (const OpReport& value : report.values) {
      EXPECT_TRUE(value.exact || value.checked == 0) << value.name;
    }
  }
}

TEST(OpByOp, TheExactLaneNamesWhatMayRound) {
  const Mesh mesh = Mesh::Create(2, 1).value();
  LinearStepOptions options = SmallStep(LinearMode::kRow, DType::kFloat32);
  options.learning_rate = 0.3;
  options.loss_scale = 0.5;
  const Program program = MakeLinearStep(options, mesh).value();
  const auto observed = RunOnCpu(program, mesh, IntegerSources(program));
  const OpByOpReport report = Held(program, mesh, observed, {.lane = Lane::kExact});
  EXPECT_EQ(report.outcome(), Outcome::kUndecided) << ToString(report);
  for (const OpReport& value : report.values) {
    const bool rounds = value.what.find("sgd_update") != std::string::npos;
    EXPECT_EQ(value.outcome(), rounds ? Outcome::kUndecided : Outcome::kOk) << value.name;
    if (!rounds) continue;
    EXPECT_NE(value.notes.at(0).find("sgd_update may round"), std::string::npos);
  }
  EXPECT_NE(ToString(report).find("not for this lane: sgd_update (2)\n"), std::string::npos)
      << ToString(report);
}

// ---------------------------------------------------------------------------------------------
// Planted mistakes.

struct Mistake {
  std::string form;
  LinearMode mode;
  DType dtype;
  std::function<void(Schedule&, const Mesh&)> edit;
  std::string first;  // the value that it must be named at
  std::string cause;  // a part of the words; empty: none is asked for
};

void Scale(Schedule& schedule, Action action, const std::string& name, const View& view,
           double factor) {
  planted::ScaleAfter(schedule, planted::IndexOf(schedule, action, name), view, factor);
}

std::vector<Mistake> Mistakes() {
  constexpr double kHead = 1 + 0x1p-8;
  const auto on_rank_1 = [](auto edit) {
    return [edit](Schedule& schedule, const Mesh& mesh) {
      if (schedule.rank == 1) edit(schedule, mesh);
    };
  };
  return {
      {"one element by the factor 1 + 2^-8", LinearMode::kRow, DType::kFloat32,
       on_rank_1([](Schedule& s, const Mesh&) {
         const View view = s.BindingOf("y.shard").view;
         Scale(s, Action::kGemm, "y.shard", view.Sub(0, 2, 1).Sub(1, 3, 1), kHead);
       }),
       "y.shard", "rank 1"},
      {"one rank's columns by 1 + 2^-8, in bf16", LinearMode::kRow, DType::kBFloat16,
       on_rank_1([](Schedule& s, const Mesh&) {
         Scale(s, Action::kGemm, "y.shard", s.BindingOf("y.shard").view, kHead);
       }),
       "y.shard", "rank 1"},
      {"one row is dropped", LinearMode::kColumn, DType::kFloat32,
       [](Schedule& s, const Mesh&) {
         const View view = s.BindingOf("dw").view;
         Scale(s, Action::kCollective, "dw", view.Sub(0, 4, 1), 0);
       },
       "dw", "index 4 in dimension 0"},
      {"one row of a product is dropped", LinearMode::kRow, DType::kFloat32,
       on_rank_1([](Schedule& s, const Mesh&) {
         const View view = s.BindingOf("dw.partial").view;
         Scale(s, Action::kGemm, "dw.partial", view.Sub(0, 4, 1), 0);
       }),
       "dw.partial", "dimension 0"},
      // A rank's shard lies in the whole that is gathered, and is overwritten there.
      {"a swapped pair of shards", LinearMode::kRow, DType::kFloat32,
       [](Schedule& s, const Mesh& mesh) { planted::SwapFirstTwoShards(s, mesh, "y"); }, "y.shard",
       "places 0 and 1 on tp are swapped"},
      {"laid out rank-major", LinearMode::kRow, DType::kFloat32,
       [](Schedule& s, const Mesh& mesh) { planted::LayOutRankMajor(s, mesh, "y"); }, "y.shard",
       "rank-major"},
      {"an all-reduce is missing", LinearMode::kRow, DType::kFloat32,
       [](Schedule& s, const Mesh&) {
         ScheduledOp& op = planted::OpOf(s, Action::kCollective, "dx");
         op.action = Action::kCopy;
         op.reads = {op.send};
         op.writes = {op.receive};
         planted::OrderAgain(s);
       },
       "dx", "share of place 0 on tp alone"},
      {"a gradient is left Partial", LinearMode::kRow, DType::kFloat32,
       [](Schedule& s, const Mesh&) {
         ScheduledOp& op = planted::OpOf(s, Action{"sgd"}, "w.updated");
         op.reads[1] = s.BindingOf("dw.partial").view;
         planted::OrderAgain(s);
       },
       "w.updated", "left Partial"},
      {"the bias is added on every rank", LinearMode::kColumn, DType::kFloat32,
       [](Schedule& s, const Mesh& mesh) {
         if (mesh.Coordinate(s.rank, Axis::kTp) == 0) return;
         planted::OpOf(s, Action::kGemm, "xw.partial").reads.push_back(s.BindingOf("b").view);
       },
       "xw.partial", "is added on every one of the 3 tp ranks"},
      {"the sum over ranks is taken twice", LinearMode::kColumn, DType::kFloat32,
       [](Schedule& s, const Mesh&) {
         Scale(s, Action::kCollective, "y", s.BindingOf("y").view, 3);
       },
       "y", "3 times too large"},
  };
}

TEST(OpByOp, MistakesAreNamedWhereTheyAreMade) {
  const Mesh mesh = Mesh::Create(3, 2).value();
  for (const Mistake& mistake : Mistakes()) {
    SCOPED_TRACE(mistake.form);
    const Program program = MakeLinearStep(SmallStep(mistake.mode, mistake.dtype), mesh).value();
    Hooks hooks;
    hooks.schedule = mistake.edit;
    const auto observed = RunOnCpu(program, mesh, RandomSources(program), hooks);
    const OpByOpReport report = Held(program, mesh, observed);
    ASSERT_NE(report.first_failure(), nullptr);
    EXPECT_EQ(report.first_failure()->name, mistake.first) << ToString(report);
    EXPECT_NE(ToString(report).find(mistake.cause), std::string::npos) << ToString(report);
  }
}

// Every element of every value, moved to the first number beyond its bound: found, there.
TEST(OpByOp, TheFirstNumberBeyondTheBoundFails) {
  const Mesh mesh = Mesh::Create(2, 2).value();
  for (DType dtype : kAllDTypes) {
    const Program program = MakeLinearStep(SmallStep(LinearMode::kColumn, dtype), mesh).value();
    const ObservedValues right = RunOnCpu(program, mesh, RandomSources(program));
    const LocalReference reference(program, mesh, right, {});
    for (const Op& op : program.ops()) {
      if (op.IsSource()) continue;
      for (ValueId id : op.outputs) {
        if (!right.values[id] || right.values[id]->partial()) continue;  // grows with its shares
        const int64_t index = right.values[id]->size() / 2;
        const BoundedNumber expected = reference.Expect(id, {index})[0];
        ObservedValues wrong = right;
        HostTensor& tensor = wrong.values[id]->shares[0];
        double beyond = expected.value + expected.error;
        for (double step = expected.error + 0x1p-60; tensor.At(index) <= beyond; step *= 2) {
          tensor.Set(index, beyond + step);
        }
        const OpByOpReport report = Held(program, mesh, wrong);
        ASSERT_NE(report.first_failure(), nullptr) << program.value(id).name;
        EXPECT_EQ(report.first_failure()->value, id) << ToString(report);
        EXPECT_EQ(report.first_failure()->failing, 1);
      }
    }
  }
}

TEST(OpByOp, WhatOverflowsIsUndecidedAndNothingMore) {
  const Mesh mesh = Mesh::Create(2, 1).value();
  const Program program =
      MakeLinearStep(SmallStep(LinearMode::kRow, DType::kFloat16), mesh).value();
  Sources sources = RandomSources(program);
  sources["x"] = [](int64_t) { return 60000.0; };
  sources["w"] = [](int64_t) { return 60000.0; };
  const OpByOpReport report = Held(program, mesh, RunOnCpu(program, mesh, sources));
  EXPECT_EQ(report.outcome(), Outcome::kUndecided) << ToString(report);
  EXPECT_NE(ToString(report).find("left the range"), std::string::npos);
}

// A sample of a large tensor, of which each element needs what its letters name.
TEST(OpByOp, LargeTensorsAreSampled) {
  const Mesh mesh = Mesh::Create(2, 1).value();
  LinearStepOptions options = SmallStep(LinearMode::kRow, DType::kFloat32);
  options.tokens = 64;
  options.in_features = 300;
  options.out_features = 200;
  const Program program = MakeLinearStep(options, mesh).value();
  const auto observed = RunOnCpu(program, mesh, RandomSources(program));
  const OpByOpReport report = Held(program, mesh, observed, {.max_points = 50000});
  EXPECT_EQ(report.outcome(), Outcome::kOk) << ToString(report);
  const OpReport& y = report.values[4];
  EXPECT_EQ(y.name, "y.shard");
  EXPECT_LT(y.checked, y.total);
  EXPECT_GE(y.checked, 100);
  // The same numbers as all of it at once.
  const OpByOpReport full = Held(program, mesh, observed, {.full = true});
  EXPECT_EQ(full.outcome(), Outcome::kOk);
  EXPECT_EQ(full.values[4].checked, y.total);
  EXPECT_GE(full.worst_ratio(), report.worst_ratio());
}

// Which rows a sum takes depends on the ids: all of them can lie on one rank, and it rounds each
// time.
TEST(OpByOp, RowsThatIdsChooseMayAllLieOnOneRank) {
  const Mesh mesh = Mesh::Create(1, 2).value();
  for (SumOrder order : {SumOrder::kFast, SumOrder::kInvariant}) {
    Program program;
    program.set_sum_order(order);
    const Placements split = On(Axis::kDp, Shard(0));
    const ValueId ids = Input(program, "ids", {8}, split, DType::kInt32);
    const ValueId dy = Input(program, "dy", {8, 64}, split);
    const ValueId table = Parameter(program, "table", {4, 64});
    program.AddResult(
        AddOp(program, Phase::kBackward, "dtable", kEmbeddingGrad, {ids, dy, table}).value());
    Sources sources = RandomSources(program);
    sources["ids"] = [](int64_t i) { return std::vector<double>{0, 0, 1, 1, 2, 2, 2, 3}[i]; };
    const OpByOpReport report = Held(program, mesh, RunOnCpu(program, mesh, sources));
    EXPECT_EQ(report.outcome(), Outcome::kOk) << ToString(report);
  }
}

// ---------------------------------------------------------------------------------------------
// Depth.

// h <- h + (h a) b, over and over: four ops a layer.
Program Chain(int layers) {
  Program program;
  const ValueId x = Input(program, "x", {6, 8});
  const ValueId a = Parameter(program, "a", {8, 8}, On(Axis::kTp, Shard(1)));
  const ValueId b = Parameter(program, "b", {8, 8}, On(Axis::kTp, Shard(0)));
  ValueId h = x;
  const Phase phase = Phase::kForward;
  for (int i = 0; i < layers; ++i) {
    const std::string layer = "layers." + std::to_string(i) + ".";
    const ValueId up = AddMatMul(program, phase, layer + "up", h, a, {}).value();
    const ValueId down = AddMatMul(program, phase, layer + "down", up, b, {}).value();
    const ValueId sum =
        AddRedistribute(program, phase, layer + "sum", down, Axis::kTp, Replicate()).value();
    h = AddOp(program, phase, layer + "out", kAdd, {h, sum}).value();
  }
  program.AddResult(h);
  return program;
}

TEST(OpByOp, HoldsThreeThousandOpsAndFindsOneThatIsWrong) {
  constexpr int kLayers = 750;
  const Mesh mesh = Mesh::Create(2, 1).value();
  const Program program = Chain(kLayers);
  ASSERT_GE(program.ops().size(), 3000u);
  Sources sources = RandomSources(program);
  for (const char* name : {"a", "b"}) {
    const ElementSource random = sources[name];
    sources[name] = [random](int64_t i) { return 0.05 * random(i); };
  }
  const OpByOpReport right = Held(program, mesh, RunOnCpu(program, mesh, sources));
  EXPECT_EQ(right.outcome(), Outcome::kOk) << ToString(right);
  EXPECT_GT(right.worst_ratio(), 0.5);

  Hooks hooks;
  hooks.schedule = [](Schedule& s, const Mesh&) {
    const std::string name = "layers.500.up";
    if (s.rank == 0) {
      Scale(s, Action::kGemm, name, s.BindingOf(name).view.Sub(0, 1, 1).Sub(1, 1, 1), 1 + 0x1p-18);
    }
  };
  const OpByOpReport wrong = Held(program, mesh, RunOnCpu(program, mesh, sources, hooks));
  ASSERT_NE(wrong.first_failure(), nullptr);
  EXPECT_EQ(wrong.first_failure()->name, "layers.500.up") << ToString(wrong);
}

TEST(OpByOp, RefusesWhatIsNotOfTheProgram) {
  const Mesh mesh = Mesh::Create(1, 1).value();
  const Program program =
      MakeLinearStep(SmallStep(LinearMode::kRow, DType::kFloat32), mesh).value();
  EXPECT_FALSE(VerifyOpByOp(program, mesh, ObservedValues(), {}).ok());
  ObservedValues observed = RunOnCpu(program, mesh, RandomSources(program));
  observed.values[program.Find("w").value()].reset();
  const auto report = VerifyOpByOp(program, mesh, observed, {});
  ASSERT_FALSE(report.ok());
  EXPECT_NE(report.status().message().find("'w' was not observed"), std::string::npos);
}

}  // namespace
}  // namespace tp::verify
