// Optimizers that change several parameters in place, held op by op after some steps on the CPU
// backend, wherever what they update is cut.
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "backends/cpu/backend.h"
#include "backends/cpu/functions.h"
#include "tests/program/programs.h"
#include "tp/core/random.h"
#include "tp/ops/ops.h"
#include "tp/passes/passes.h"
#include "tp/verify/observe.h"
#include "tp/verify/op_by_op.h"

namespace tp::verify {
namespace {

using Sources = std::map<std::string, std::function<double(int64_t)>>;

const Attributes kAttributes = {
    {"beta_moment", 0.9}, {"beta_square", 0.75}, {"eps", 1e-3}, {"decay", 0.1}};

// A parameter of `dtype` with its states, updated by a gradient that its norm clips.
Program Step(DType dtype, bool master, Placement on) {
  Program program;
  const auto tensor = [&](const char* name, DType type) {
    return Parameter(program, name, {7, 5}, On(Axis::kTp, on), type);
  };
  const DType wide = AccumulatorOf(dtype);
  std::vector<ValueId> inputs = {tensor("w", dtype)};
  std::vector<std::string> names = {"w.updated"};
  if (master) {
    inputs.push_back(tensor("master", wide));
    names.push_back("master.updated");
  }
  inputs.insert(inputs.end(), {tensor("moment", wide), tensor("square", wide)});
  names.insert(names.end(), {"moment.updated", "square.updated"});
  const ValueId g = Input(program, "g", {7, 5}, On(Axis::kTp, on), dtype);
  const ValueId part = AddOp(program, Phase::kOptimizer, "norm.part", kSquareSum, {g}).value();
  const ValueId sum =
      AddRedistribute(program, Phase::kOptimizer, "norm", part, Axis::kTp, Replicate()).value();
  const ValueId factor =
      AddOp(program, Phase::kOptimizer, "factor", kClipFactor, {sum}, {{"max", 0.5}}).value();
  inputs.push_back(g);
  for (const char* name : {"rate", "a", "b"}) inputs.push_back(Input(program, name, {}, {}, wide));
  inputs.push_back(factor);
  EXPECT_TRUE(
      AddOp(program, Phase::kOptimizer, names, master ? kAdamwMaster : kAdamw, inputs, kAttributes)
          .ok());
  EXPECT_EQ(Verify(program).ToString(), "OK");
  return program;
}

Sources SourcesFor() {
  Sources sources;
  uint64_t stream = 0;
  for (const char* name : {"w", "master", "moment", "g"}) {
    const RandomTensor random(/*seed=*/3, stream++);
    sources[name] = [random](int64_t i) { return random.Uniform(static_cast<uint64_t>(i)); };
  }
  sources["square"] = [](int64_t i) { return 0.25 * static_cast<double>(i % 3); };
  sources["rate"] = [](int64_t) { return 0.125; };
  sources["a"] = [](int64_t) { return 2.0; };
  sources["b"] = [](int64_t) { return 4.0; };
  return sources;
}

TEST(OpByOpUpdates, HoldInPlace) {
  OpByOpOptions options{.full = true};
  options.arithmetic.functions = cpu::ErrorsOfFunctions();
  ASSERT_NE(cpu::ErrorsOfFunctions(), nullptr);
  for (const auto& [dtype, master] :
       {std::pair(DType::kFloat32, false), std::pair(DType::kBFloat16, true),
        std::pair(DType::kBFloat16, false), std::pair(DType::kFloat16, false)}) {
    for (Placement on : {Replicate(), Shard(0), Shard(1)}) {
      for (int tp : {1, 2, 3, 8}) {
        for (bool passes : {false, true}) {
          const Mesh mesh = Mesh::Create(tp, 1).value();
          Program program = Step(dtype, master, on);
          if (passes) Optimize(program, mesh);
          const auto observed =
              Observe(*cpu::MakeCpuBackend({}), mesh, program, SourcesFor(), {.steps_before = 2});
          ASSERT_TRUE(observed.ok()) << observed.status().ToString();
          const auto report = VerifyOpByOp(program, mesh, *observed, options);
          ASSERT_TRUE(report.ok()) << report.status().ToString();
          EXPECT_EQ(report->outcome(), Outcome::kOk) << ToString(*report);
          size_t held = 0;
          for (const OpReport& value : report->values) {
            held += value.name.ends_with(".updated") && value.checked == 35 ? 1 : 0;
          }
          EXPECT_EQ(held, master ? 4u : 3u);
        }
      }
    }
  }
}

// 3e-41 is no normal number of fp32: with 15 of 24 bits, what it multiplies is off by as much. The
// bound knows that, and no more than that.
TEST(OpByOpUpdates, ASubnormalRateIsNoDefect) {
  const Mesh mesh = Mesh::Create(2, 1).value();
  for (double off : {0.0, 1e-3}) {
    Program program;
    const ValueId w = Parameter(program, "w", {7, 5}, On(Axis::kTp, Shard(0)));
    const ValueId g = Input(program, "g", {7, 5}, On(Axis::kTp, Shard(0)));
    ASSERT_TRUE(AddSgdUpdate(program, Phase::kOptimizer, "w.updated", w, g, 3e-41).ok());
    const Sources sources = {{"w", [](int64_t) { return 0.0; }},
                             {"g", [](int64_t i) { return 1e19 * static_cast<double>(1 + i); }}};
    const auto observed = Observe(*cpu::MakeCpuBackend({}), mesh, program, sources, {});
    ASSERT_TRUE(observed.ok()) << observed.status().ToString();
    program.mutable_ops().back().attributes.Set("rate", 3e-41 * (1 + off));
    const auto report = VerifyOpByOp(program, mesh, *observed, {.full = true});
    ASSERT_TRUE(report.ok()) << report.status().ToString();
    EXPECT_EQ(report->outcome(), off == 0 ? Outcome::kOk : Outcome::kFail) << ToString(*report);
    EXPECT_EQ(report->values.back().name, "w.updated");
    EXPECT_GT(report->values.back().ratio, 0.1);
  }
}

TEST(OpByOpUpdates, NoParameterIsUpdatedTwice) {
  Program program = Step(DType::kFloat32, false, Replicate());
  Op& update = program.mutable_ops().back();
  update.inputs[2] = update.inputs[1];
  EXPECT_NE(Verify(program).message().find("updates 'moment' twice"), std::string::npos)
      << Verify(program).ToString();
}

}  // namespace
}  // namespace tp::verify
