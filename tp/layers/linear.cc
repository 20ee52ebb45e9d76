#include "tp/layers/linear.h"

#include "tp/ops/ops.h"

namespace tp {

std::string_view Name(LinearMode mode) { return mode == LinearMode::kRow ? "row" : "column"; }

std::optional<LinearMode> ParseLinearMode(std::string_view name) {
  for (LinearMode mode : {LinearMode::kRow, LinearMode::kColumn}) {
    if (Name(mode) == name) return mode;
  }
  return std::nullopt;
}

StatusOr<Linear> AddLinear(Program& program, LinearMode mode, int64_t out_features, ValueId x) {
  const Value& input = program.value(x);
  if (input.shape.size() != 2 || !IsReplicate(input.placements[Axis::kTp])) {
    return InvalidArgument("a linear layer's input '" + input.name + "' is " +
                           ToString(input.shape) + " " + ToString(input.placements) +
                           "; it must be a matrix, replicated over tp");
  }
  const DType dtype = input.dtype;
  const int64_t in_features = input.shape[1];
  const bool row = mode == LinearMode::kRow;
  const Placements on_w(row ? Shard(0) : Shard(1), Replicate());
  const Placements on_b(row ? Shard(0) : Replicate(), Replicate());
  const MatMulOptions transposed{.transpose_a = false, .transpose_b = true};
  Linear linear{};
  TP_ASSIGN_OR_RETURN(linear.w,
                      AddParameter(program, Value{"w", {out_features, in_features}, dtype, on_w}));
  TP_ASSIGN_OR_RETURN(linear.b, AddParameter(program, Value{"b", {out_features}, dtype, on_b}));
  if (row) {
    TP_ASSIGN_OR_RETURN(const ValueId product,
                        AddMatMul(program, Phase::kForward, "xw", x, linear.w, transposed));
    TP_ASSIGN_OR_RETURN(const ValueId shard,
                        AddBias(program, Phase::kForward, "y.shard", product, linear.b));
    TP_ASSIGN_OR_RETURN(
        linear.y, AddRedistribute(program, Phase::kForward, "y", shard, Axis::kTp, Replicate()));
    return linear;
  }
  TP_ASSIGN_OR_RETURN(const ValueId slice,
                      AddRedistribute(program, Phase::kForward, "x.shard", x, Axis::kTp, Shard(1)));
  TP_ASSIGN_OR_RETURN(const ValueId partial, AddMatMul(program, Phase::kForward, "xw.partial",
                                                       slice, linear.w, transposed));
  TP_ASSIGN_OR_RETURN(const ValueId sum, AddRedistribute(program, Phase::kForward, "xw", partial,
                                                         Axis::kTp, Replicate()));
  TP_ASSIGN_OR_RETURN(linear.y, AddBias(program, Phase::kForward, "y", sum, linear.b));
  return linear;
}

}  // namespace tp
