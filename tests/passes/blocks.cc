#include "tests/passes/blocks.h"

#include <gtest/gtest.h>

#include <utility>

#include "backends/cpu/backend.h"
#include "tools/measure/train.h"
#include "tp/autodiff/backward.h"
#include "tp/core/random.h"
#include "tp/ops/builder.h"
#include "tp/optim/sgd.h"
#include "tp/passes/micro_batches.h"
#include "tp/passes/recompute.h"

namespace tp {
namespace {

ValueId AddForward(Builder& b, const BlocksOptions& options, DType dtype) {
  const Placements over_dp(Replicate(), Shard(0));
  const Shape batch = {options.batch, options.features};
  ValueId x = b.Input("x", batch, dtype, over_dp);
  const ValueId targets = b.Input("targets", batch, dtype, over_dp);
  for (int i = 0; i < options.layers; ++i) {
    const Builder::Scope scope = b.In("layers", i);
    const ValueId up = b.Parameter("up", {options.features, options.hidden}, dtype,
                                   Placements(Shard(1), Replicate()));
    const ValueId down = b.Parameter("down", {options.hidden, options.features}, dtype,
                                     Placements(Shard(0), Replicate()));
    const ValueId h = b.MatMul("h", x, up);
    const ValueId active = b.Op("active", options.integers ? kRelu : kSilu, {h});
    const ValueId part = b.MatMul("y.partial", active, down);
    x = b.Add("sum", x, b.Redistribute("y", part, Axis::kTp, Replicate()));
  }
  return b.MseLoss("loss", x, targets, 0.5);
}

}  // namespace

Program MakeBlocks(const BlocksOptions& options) {
  Program program;
  Builder b(program);
  const DType dtype = options.integers ? DType::kFloat64 : DType::kFloat32;
  std::vector<ValueId> sums = {AddForward(b, options, dtype)};
  EXPECT_EQ(b.status().ToString(), "OK");
  std::vector<ValueId> parameters;
  for (const Op& op : program.ops()) {
    if (op.Is(kParameter)) parameters.push_back(op.outputs[0]);
  }
  const auto gradients = AddUnfinishedBackward(program, sums[0], parameters).value();
  sums.insert(sums.end(), gradients.begin(), gradients.end());
  if (options.recompute) {
    EXPECT_EQ(Recompute(program, "layers").ToString(), "OK");
  }
  sums = RepeatAndSum(program, options.pieces, sums).value();
  std::vector<ValueId> whole;
  for (size_t i = 0; i < parameters.size(); ++i) {
    whole.push_back(FinishGradient(program, parameters[i], sums[i + 1]).value());
  }
  EXPECT_TRUE(AddSgd(program, parameters, whole, options.integers ? 1 : 0.01).ok());
  program.AddResult(sums[0]);
  for (ValueId id : whole) program.AddResult(id);
  EXPECT_EQ(Verify(program).ToString(), "OK");
  return program;
}

std::map<std::string, ElementSource> SourcesOf(const Program& program,
                                               const BlocksOptions& options) {
  std::map<std::string, ElementSource> sources;
  const bool integers = options.integers;
  const auto fill = [integers](uint64_t stream) -> ElementSource {
    return [integers, random = RandomTensor(1, stream)](int64_t i) {
      const double number = random.Uniform(static_cast<uint64_t>(i));
      return integers ? (number < -0.3 ? -1.0 : number > 0.3 ? 1.0 : 0.0) : number;
    };
  };
  uint64_t stream = 2;
  for (const Op& op : program.ops()) {
    if (op.Is(kParameter)) sources[program.value(op.outputs[0]).name] = fill(stream++);
  }
  for (int piece = 0; piece < options.pieces; ++piece) {
    const int64_t first = piece * options.batch * options.features;
    for (const auto& [name, of] : {std::pair("x", fill(0)), std::pair("targets", fill(1))}) {
      sources[MicroBatchName(name, piece)] = [first, of = of](int64_t i) { return of(first + i); };
    }
  }
  return sources;
}

std::map<std::string, std::vector<double>> RunStep(const Program& program,
                                                   const BlocksOptions& options, const Mesh& mesh) {
  const auto backend = cpu::MakeCpuBackend({});
  TrainOptions train;
  train.warmup = 0;
  train.steps = 1;
  const TrainResult result =
      Train(*backend, mesh, program, SourcesOf(program, options), train).value();
  EXPECT_TRUE(result.replica_defects.empty());
  std::map<std::string, std::vector<double>> values = {{"loss", result.losses}};
  for (const auto& tensors : {result.first, result.last}) {
    for (const auto& [name, tensor] : tensors) values[name] = tensor.ToDoubles();
  }
  return values;
}

}  // namespace tp
