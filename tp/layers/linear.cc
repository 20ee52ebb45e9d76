#include "tp/layers/linear.h"

namespace tp {

std::string_view Name(LinearMode mode) { return mode == LinearMode::kRow ? "row" : "column"; }

std::optional<LinearMode> ParseLinearMode(std::string_view name) {
  for (LinearMode mode : {LinearMode::kRow, LinearMode::kColumn}) {
    if (Name(mode) == name) return mode;
  }
  return std::nullopt;
}

Linear AddLinear(Builder& builder, LinearMode mode, int64_t out_features, ValueId x) {
  const Value input = builder.value(x);
  if (input.shape.size() != 2 || !IsReplicate(input.placements[Axis::kTp])) {
    builder.Fail(InvalidArgument("a linear layer's input '" + input.name + "' is " +
                                 ToString(input.shape) + " " + ToString(input.placements) +
                                 "; it must be a matrix, replicated over tp"));
    return {};
  }
  const int64_t in_features = input.shape[1];
  const bool row = mode == LinearMode::kRow;
  const Placements on_w(row ? Shard(0) : Shard(1), Replicate());
  const Placements on_b(row ? Shard(0) : Replicate(), Replicate());
  Linear linear;
  linear.w = builder.Parameter("w", {out_features, in_features}, input.dtype, on_w);
  linear.b = builder.Parameter("b", {out_features}, input.dtype, on_b);
  if (row) {
    const ValueId product = builder.MatMul("xw", x, linear.w, {.transpose_b = true});
    const ValueId shard = builder.AddBias("y.shard", product, linear.b);
    linear.y = builder.Redistribute("y", shard, Axis::kTp, Replicate());
  } else {
    const ValueId slice = builder.Redistribute("x.shard", x, Axis::kTp, Shard(1));
    const ValueId partial = builder.MatMul("xw.partial", slice, linear.w, {.transpose_b = true});
    const ValueId sum = builder.Redistribute("xw", partial, Axis::kTp, Replicate());
    linear.y = builder.AddBias("y", sum, linear.b);
  }
  return linear;
}

}  // namespace tp
