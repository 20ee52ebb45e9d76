#include "tests/program/deep_chain.h"

#include <glog/logging.h>

#include <vector>

#include "tp/autodiff/backward.h"
#include "tp/layers/linear.h"
#include "tp/optim/sgd.h"

namespace tp {
Program MakeDeepChain(const DeepChainOptions& options) {
  Program program;
  program.set_sum_order(options.sum_order);
  Builder builder(program);
  const Placements batch(Replicate(), Shard(0));
  const Shape shape = {options.tokens, options.features};
  ValueId x = builder.Input("x", shape, DType::kFloat32, batch);
  const ValueId targets = builder.Input("targets", shape, DType::kFloat32, batch);
  std::vector<ValueId> parameters;
  for (int i = 0; i < options.layers; ++i) {
    const Builder::Scope scope = builder.In("layers", i);
    const LinearMode mode = i % 2 == 0 ? LinearMode::kRow : LinearMode::kColumn;
    const Linear linear = AddLinear(builder, mode, options.features, x);
    parameters.insert(parameters.end(), {linear.w, linear.b});
    x = builder.Add("sum", x, linear.y);
  }
  const auto elements = static_cast<double>(options.tokens * options.features);
  const ValueId loss = builder.MseLoss("loss", x, targets, 1 / elements);
  builder.Result(loss);
  CHECK(builder.status().ok()) << builder.status().ToString();
  const std::vector<ValueId> gradients = AddBackward(program, loss, parameters).value();
  const Status status = AddSgd(program, parameters, gradients, 0.01);
  CHECK(status.ok()) << status.ToString();
  return program;
}

}  // namespace tp
