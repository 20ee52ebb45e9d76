#include "tp/program/rules.h"

#include <optional>

namespace tp {
namespace {

// The placement of op(v) on one axis, given v's: transposition swaps the sharded dimension.
Placement Transposed(Placement p, bool transpose) {
  return IsShard(p) && transpose ? Shard(1 - p.dim) : p;
}

std::optional<Placement> MatMulRule(Placement a, Placement b) {
  if (IsReplicate(a) && IsReplicate(b)) return Replicate();
  if (IsShard(a, 0) && IsReplicate(b)) return Shard(0);
  if (IsReplicate(a) && IsShard(b, 1)) return Shard(1);
  if (IsShard(a, 1) && IsShard(b, 0)) return Partial();
  if (IsPartial(a) && IsReplicate(b)) return Partial();
  if (IsReplicate(a) && IsPartial(b)) return Partial();
  return std::nullopt;
}

std::optional<Placement> AddBiasRule(Placement y, Placement b) {
  if (IsReplicate(y) && IsReplicate(b)) return Replicate();
  if (IsShard(y, 0) && IsReplicate(b)) return Shard(0);
  if (IsShard(y, 1) && IsShard(b, 0)) return Shard(1);
  if (IsPartial(y) && IsPartial(b)) return Partial();
  return std::nullopt;
}

Status RankIs(const Value& value, size_t rank) {
  if (value.shape.size() == rank) return OkStatus();
  return InvalidArgument("'" + value.name + "' has shape " + ToString(value.shape) + "; it needs " +
                         std::to_string(rank) + " dimensions");
}

Status SameType(const Value& a, const Value& b) {
  if (a.dtype == b.dtype) return OkStatus();
  return InvalidArgument("'" + a.name + "' is " + std::string(Name(a.dtype)) + " and '" + b.name +
                         "' is " + std::string(Name(b.dtype)) + "; they must be alike");
}

Status SameShape(const Value& a, const Value& b) {
  if (a.shape == b.shape) return OkStatus();
  return InvalidArgument("'" + a.name + "' has shape " + ToString(a.shape) + " and '" + b.name +
                         "' has shape " + ToString(b.shape) + "; they must be alike");
}

Status NoRule(Axis axis, const Value& a, Placement on_a, const Value& b, Placement on_b,
              const std::string& advice) {
  return InvalidArgument("on axis " + std::string(Name(axis)) + ", '" + a.name + "' is " +
                         ToString(on_a) + " and '" + b.name + "' is " + ToString(on_b) + "; " +
                         advice);
}

StatusOr<Value> AddBiasType(const Value& y, const Value& b) {
  TP_RETURN_IF_ERROR(RankIs(y, 2));
  TP_RETURN_IF_ERROR(RankIs(b, 1));
  TP_RETURN_IF_ERROR(SameType(y, b));
  if (y.shape[1] != b.shape[0]) {
    return InvalidArgument("a bias of shape " + ToString(b.shape) +
                           " does not fit the columns of " + ToString(y.shape));
  }
  Value out = y;
  for (Axis axis : kAllAxes) {
    const auto rule = AddBiasRule(y.placements[axis], b.placements[axis]);
    if (!rule) {
      return NoRule(axis, y, y.placements[axis], b, b.placements[axis],
                    IsPartial(y.placements[axis])
                        ? "added on every rank, the bias would be counted once a rank; "
                          "redistribute the partial value first"
                        : "the bias must lie as the columns do");
    }
    out.placements[axis] = *rule;
  }
  return out;
}

StatusOr<std::vector<Value>> MatMulType(const Program& program, const Op& op) {
  const Value& a = program.value(op.inputs[0]);
  const Value& b = program.value(op.inputs[1]);
  TP_RETURN_IF_ERROR(RankIs(a, 2));
  TP_RETURN_IF_ERROR(RankIs(b, 2));
  TP_RETURN_IF_ERROR(SameType(a, b));
  if (a.shape[op.transpose_a ? 0 : 1] != b.shape[op.transpose_b ? 1 : 0]) {
    return InvalidArgument("the contraction sizes of " + ToString(a.shape) + " and " +
                           ToString(b.shape) + " differ");
  }
  Value out{"", {a.shape[op.transpose_a ? 1 : 0], b.shape[op.transpose_b ? 0 : 1]}, a.dtype, {}};
  for (Axis axis : kAllAxes) {
    const Placement on_a = Transposed(a.placements[axis], op.transpose_a);
    const Placement on_b = Transposed(b.placements[axis], op.transpose_b);
    const auto rule = MatMulRule(on_a, on_b);
    if (!rule) {
      return NoRule(axis, a, on_a, b, on_b,
                    "their product is neither a shard nor a partial sum of the global one");
    }
    out.placements[axis] = *rule;
  }
  if (op.inputs.size() == 3) {
    out.name = "the product";
    TP_ASSIGN_OR_RETURN(out, AddBiasType(out, program.value(op.inputs[2])));
  }
  return std::vector<Value>{out};
}

StatusOr<std::vector<Value>> MseType(const Program& program, const Op& op) {
  const Value& y = program.value(op.inputs[0]);
  const Value& t = program.value(op.inputs[1]);
  TP_RETURN_IF_ERROR(SameType(y, t));
  TP_RETURN_IF_ERROR(SameShape(y, t));
  Value loss{"", {}, AccumulatorOf(y.dtype), {}};
  for (Axis axis : kAllAxes) {
    const Placement on_y = y.placements[axis];
    if (IsPartial(on_y) || on_y != t.placements[axis]) {
      return NoRule(axis, y, on_y, t, t.placements[axis],
                    "the loss is not linear, so it needs whole values that lie alike; "
                    "redistribute first");
    }
    loss.placements[axis] = IsShard(on_y) ? Partial() : Replicate();
  }
  if (op.kind == OpKind::kMseLoss) return std::vector<Value>{loss};
  if (op.kind == OpKind::kMseGrad) return std::vector<Value>{y};
  return std::vector<Value>{loss, y};
}

StatusOr<std::vector<Value>> SumRowsType(const Value& g) {
  TP_RETURN_IF_ERROR(RankIs(g, 2));
  Value out{"", {g.shape[1]}, g.dtype, {}};
  for (Axis axis : kAllAxes) {
    const Placement on_g = g.placements[axis];
    out.placements[axis] = IsShard(on_g, 0) ? Partial() : IsShard(on_g, 1) ? Shard(0) : on_g;
  }
  return std::vector<Value>{out};
}

StatusOr<std::vector<Value>> SgdType(const Value& w, const Value& gradient) {
  TP_RETURN_IF_ERROR(SameType(w, gradient));
  TP_RETURN_IF_ERROR(SameShape(w, gradient));
  for (Axis axis : kAllAxes) {
    const Placement on_w = w.placements[axis];
    const Placement on_g = gradient.placements[axis];
    if (IsPartial(on_w) || on_w != on_g) {
      return NoRule(axis, w, on_w, gradient, on_g,
                    "an optimizer needs the whole gradient of what it updates; redistribute it");
    }
  }
  return std::vector<Value>{w};
}

size_t NumInputs(const Op& op) {
  switch (op.kind) {
    case OpKind::kInput:
    case OpKind::kParameter:
      return 0;
    case OpKind::kSumRows:
    case OpKind::kRedistribute:
      return 1;
    case OpKind::kMatMul:
      return op.inputs.size() == 3 ? 3 : 2;
    default:
      return 2;
  }
}

// The free choice of an op, a source or a redistribute, must still be a sensible type.
Status CheckDeclared(const Program& program, const Op& op) {
  const Value& out = program.value(op.outputs[0]);
  int sharded_over[2] = {0, 0};
  for (Axis axis : kAllAxes) {
    const Placement p = out.placements[axis];
    if (!IsShard(p)) continue;
    if (p.dim < 0 || p.dim >= static_cast<int>(out.shape.size()) || p.dim > 1) {
      return InvalidArgument("'" + out.name + "' of shape " + ToString(out.shape) +
                             " has no dimension to be " + ToString(p));
    }
    if (++sharded_over[p.dim] > 1) {
      return InvalidArgument("'" + out.name + "': dimension " + std::to_string(p.dim) +
                             " is sharded over two axes");
    }
  }
  if (op.kind != OpKind::kRedistribute) return OkStatus();
  const Value& in = program.value(op.inputs[0]);
  TP_RETURN_IF_ERROR(SameShape(in, out));
  TP_RETURN_IF_ERROR(SameType(in, out));
  int changed = 0;
  for (Axis axis : kAllAxes) {
    if (in.placements[axis] == out.placements[axis]) continue;
    ++changed;
    Status status = CheckRedistribute(in.placements[axis], out.placements[axis]);
    if (!status.ok()) return status.WithContext("on axis " + std::string(Name(axis)));
  }
  if (changed > 1) return InvalidArgument("a redistribute changes one axis at a time");
  return OkStatus();
}

}  // namespace

Status CheckRedistribute(Placement from, Placement to) {
  if (!IsPartial(to) || !IsShard(from)) return OkStatus();
  return InvalidArgument("nothing can be made " + ToString(to) + " from " + ToString(from));
}

StatusOr<std::vector<Value>> InferOutputs(const Program& program, const Op& op) {
  if (op.inputs.size() != NumInputs(op)) {
    return InvalidArgument(std::string(Name(op.kind)) + " takes " + std::to_string(NumInputs(op)) +
                           " inputs, not " + std::to_string(op.inputs.size()));
  }
  switch (op.kind) {
    case OpKind::kMatMul:
      return MatMulType(program, op);
    case OpKind::kAddBias: {
      TP_ASSIGN_OR_RETURN(Value out,
                          AddBiasType(program.value(op.inputs[0]), program.value(op.inputs[1])));
      return std::vector<Value>{out};
    }
    case OpKind::kMseLoss:
    case OpKind::kMseGrad:
    case OpKind::kMseLossGrad:
      return MseType(program, op);
    case OpKind::kSumRows:
      return SumRowsType(program.value(op.inputs[0]));
    case OpKind::kSgdUpdate:
      return SgdType(program.value(op.inputs[0]), program.value(op.inputs[1]));
    case OpKind::kInput:
    case OpKind::kParameter:
    case OpKind::kRedistribute:
      break;
  }
  return InvalidArgument(std::string(Name(op.kind)) + " declares its own output");
}

Status CheckTypes(const Program& program, const Op& op) {
  const bool declared = op.kind == OpKind::kInput || op.kind == OpKind::kParameter ||
                        op.kind == OpKind::kRedistribute;
  if (declared) {
    if (op.inputs.size() != NumInputs(op) || op.outputs.size() != 1) {
      return InvalidArgument("has a wrong number of inputs or outputs");
    }
    return CheckDeclared(program, op);
  }
  TP_ASSIGN_OR_RETURN(const std::vector<Value> expected, InferOutputs(program, op));
  if (expected.size() != op.outputs.size()) {
    return InvalidArgument("yields " + std::to_string(expected.size()) + " values, not " +
                           std::to_string(op.outputs.size()));
  }
  for (size_t i = 0; i < expected.size(); ++i) {
    const Value& actual = program.value(op.outputs[i]);
    if (actual.shape != expected[i].shape || actual.dtype != expected[i].dtype ||
        actual.placements != expected[i].placements) {
      return InvalidArgument("'" + actual.name + "' is declared " +
                             std::string(Name(actual.dtype)) + " " + ToString(actual.shape) + " " +
                             ToString(actual.placements) + ", but the rule gives " +
                             std::string(Name(expected[i].dtype)) + " " +
                             ToString(expected[i].shape) + " " + ToString(expected[i].placements));
    }
  }
  return OkStatus();
}

}  // namespace tp
