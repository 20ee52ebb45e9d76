#include "tp/model/linear_step.h"

#include <string>

#include "tp/autodiff/backward.h"
#include "tp/ops/builder.h"
#include "tp/optim/sgd.h"
#include "tp/passes/passes.h"

namespace tp {
namespace {

Status CheckSizes(const LinearStepOptions& options) {
  constexpr int64_t kMaxSize = int64_t{1} << 32;
  constexpr int64_t kMaxElements = int64_t{1} << 48;
  const std::pair<const char*, int64_t> sizes[] = {{"tokens", options.tokens},
                                                   {"in_features", options.in_features},
                                                   {"out_features", options.out_features}};
  for (const auto& [name, size] : sizes) {
    if (size < 1 || size > kMaxSize) {
      return InvalidArgument(std::string(name) + " is " + std::to_string(size) +
                             "; it must be between 1 and " + std::to_string(kMaxSize));
    }
  }
  for (const auto& [name_a, a] : sizes) {
    for (const auto& [name_b, b] : sizes) {
      if (name_a == name_b || a <= kMaxElements / b) continue;
      return InvalidArgument(std::string(name_a) + " x " + name_b + " is too large a matrix: " +
                             std::to_string(a) + " x " + std::to_string(b));
    }
  }
  return OkStatus();
}

}  // namespace

double LossScale(const LinearStepOptions& options) {
  const auto elements = static_cast<double>(options.tokens * options.out_features);
  return options.loss_scale.value_or(1.0 / elements);
}

StatusOr<Program> MakeLinearStep(const LinearStepOptions& options, const Mesh& mesh) {
  TP_RETURN_IF_ERROR(CheckSizes(options));
  Program program;
  program.set_sum_order(options.sum_order);
  Builder builder(program);
  const Placements batch(Replicate(), Shard(0));
  const ValueId x = builder.Input("x", {options.tokens, options.in_features}, options.dtype, batch);
  const ValueId targets =
      builder.Input("targets", {options.tokens, options.out_features}, options.dtype, batch);
  const Linear linear = AddLinear(builder, options.mode, options.out_features, x);
  const ValueId loss = builder.MseLoss("loss", linear.y, targets, LossScale(options));
  TP_RETURN_IF_ERROR(builder.status());
  TP_ASSIGN_OR_RETURN(const std::vector<ValueId> gradients,
                      AddBackward(program, loss, {x, linear.w, linear.b}));
  TP_RETURN_IF_ERROR(
      AddSgd(program, {linear.w, linear.b}, {gradients[1], gradients[2]}, options.learning_rate));
  for (ValueId result : {linear.y, loss, gradients[0], gradients[1], gradients[2]}) {
    program.AddResult(result);
  }
  TP_RETURN_IF_ERROR(Verify(program));
  if (options.optimize) {
    Optimize(program, mesh);
    TP_RETURN_IF_ERROR(Verify(program));
  }
  return program;
}

}  // namespace tp
