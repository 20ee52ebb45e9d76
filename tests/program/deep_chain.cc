#include "tests/program/deep_chain.h"

#include <string>
#include <vector>

#include "tests/program/programs.h"
#include "tp/autodiff/backward.h"
#include "tp/ops/ops.h"
#include "tp/optim/sgd.h"

namespace tp {
namespace {

constexpr Phase kForward = Phase::kForward;

// Of a layer whose input lies as `x` does.
struct Layer {
  ValueId w, b, y;
};

Layer AddRowLayer(Program& program, const std::string& scope, ValueId x, int64_t features) {
  const ValueId w =
      Parameter(program, scope + "w", {features, features}, Placements(Shard(0), Replicate()));
  const ValueId b = Parameter(program, scope + "b", {features}, Placements(Shard(0), Replicate()));
  const ValueId xw =
      AddMatMul(program, kForward, scope + "xw", x, w, {.transpose_b = true}).value();
  const ValueId shard = AddBias(program, kForward, scope + "y.shard", xw, b).value();
  return {w, b,
          AddRedistribute(program, kForward, scope + "y", shard, Axis::kTp, Replicate()).value()};
}

Layer AddColumnLayer(Program& program, const std::string& scope, ValueId x, int64_t features) {
  const ValueId w =
      Parameter(program, scope + "w", {features, features}, Placements(Shard(1), Replicate()));
  const ValueId b = Parameter(program, scope + "b", {features});
  const ValueId shard =
      AddRedistribute(program, kForward, scope + "x.shard", x, Axis::kTp, Shard(1)).value();
  const ValueId partial =
      AddMatMul(program, kForward, scope + "xw.partial", shard, w, {.transpose_b = true}).value();
  const ValueId xw =
      AddRedistribute(program, kForward, scope + "xw", partial, Axis::kTp, Replicate()).value();
  return {w, b, AddBias(program, kForward, scope + "y", xw, b).value()};
}

}  // namespace

Program MakeDeepChain(const DeepChainOptions& options) {
  Program program;
  program.set_sum_order(options.sum_order);
  const Placements batch(Replicate(), Shard(0));
  const Shape shape = {options.tokens, options.features};
  ValueId x = Input(program, "x", shape, batch);
  const ValueId targets = Input(program, "targets", shape, batch);
  std::vector<ValueId> parameters;
  for (int i = 0; i < options.layers; ++i) {
    const std::string scope = "layers." + std::to_string(i) + ".";
    const Layer layer =
        (i % 2 == 0 ? AddRowLayer : AddColumnLayer)(program, scope, x, options.features);
    parameters.insert(parameters.end(), {layer.w, layer.b});
    x = AddOp(program, kForward, scope + "sum", kAdd, {x, layer.y}).value();
  }
  const auto elements = static_cast<double>(options.tokens * options.features);
  const ValueId loss = AddMseLoss(program, kForward, "loss", x, targets, 1 / elements).value();
  const std::vector<ValueId> gradients = AddBackward(program, loss, parameters).value();
  static_cast<void>(AddSgd(program, parameters, gradients, 0.01));
  program.AddResult(loss);
  return program;
}

}  // namespace tp
