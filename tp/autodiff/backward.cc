#include "tp/autodiff/backward.h"

#include <algorithm>
#include <optional>
#include <string>

#include "tp/program/ops.h"

namespace tp {
namespace {

class ReversePass {
 public:
  ReversePass(Program& program, const std::vector<ValueId>& wrt)
      : program_(program),
        wrt_(wrt),
        forward_(program.ops()),
        needed_(program.values().size()),
        gradient_(program.values().size()) {
    for (ValueId id : wrt) needed_[id] = true;
    for (const Op& op : forward_) {
      for (ValueId in : op.inputs) {
        if (!needed_[in]) continue;
        for (ValueId out : op.outputs) needed_[out] = true;
      }
    }
  }

  StatusOr<std::vector<ValueId>> Run(ValueId loss) {
    const Op& last = forward_[program_.DefinitionOf(loss)];
    if (last.kind != OpKind::kMseLoss) {
      return InvalidArgument("the gradient starts at an mse_loss, not at a " +
                             std::string(Name(last.kind)));
    }
    TP_RETURN_IF_ERROR(Loss(last));
    for (auto op = forward_.rbegin(); op != forward_.rend(); ++op) {
      if (op->kind == OpKind::kMseLoss || !gradient_[op->outputs[0]]) continue;
      TP_RETURN_IF_ERROR(Reverse(*op, *gradient_[op->outputs[0]]));
    }
    std::vector<ValueId> gradients;
    for (ValueId id : wrt_) {
      if (!gradient_[id]) {
        return InvalidArgument("the loss does not depend on '" + program_.value(id).name + "'");
      }
      gradients.push_back(*gradient_[id]);
    }
    return gradients;
  }

 private:
  std::string GradientName(ValueId id) const { return "d" + program_.value(id).name; }

  // Notes `gradient` as that of `id`, complete if the caller asked for it.
  Status Deliver(ValueId id, ValueId gradient) {
    if (gradient_[id]) {
      return InvalidArgument("'" + program_.value(id).name +
                             "' is used by more than one op on the way to the loss");
    }
    const bool asked = std::find(wrt_.begin(), wrt_.end(), id) != wrt_.end();
    const bool parameter = forward_[program_.DefinitionOf(id)].kind == OpKind::kParameter;
    for (Axis axis : kAllAxes) {
      const Placement to = Dual(program_.value(id).placements[axis]);
      if (!asked || program_.value(gradient).placements[axis] == to) continue;
      TP_ASSIGN_OR_RETURN(gradient,
                          Redistribute(id, gradient, axis, to,
                                       parameter ? Phase::kGradientSync : Phase::kBackward));
    }
    gradient_[id] = gradient;
    return OkStatus();
  }

  // Redistributes `gradient` towards the gradient of `id`, which takes over the plain name.
  StatusOr<ValueId> Redistribute(ValueId id, ValueId gradient, Axis axis, Placement to,
                                 Phase phase) {
    const std::string name = GradientName(id);
    const Placement from = program_.value(gradient).placements[axis];
    TP_ASSIGN_OR_RETURN(const ValueId out,
                        AddRedistribute(program_, phase, name, gradient, axis, to));
    if (out != gradient && program_.value(gradient).name == name) {
      program_.mutable_value(gradient).name = name + (IsPartial(from) ? ".partial"
                                                      : IsShard(from) ? ".shard"
                                                                      : ".whole");
    }
    return out;
  }

  Status Loss(const Op& op) {
    const ValueId y = op.inputs[0];
    if (!needed_[y]) return OkStatus();
    TP_ASSIGN_OR_RETURN(const ValueId dy, AddMseGrad(program_, Phase::kBackward, GradientName(y), y,
                                                     op.inputs[1], op.scale));
    return Deliver(y, dy);
  }

  Status Reverse(const Op& op, ValueId g) {
    switch (op.kind) {
      case OpKind::kInput:
      case OpKind::kParameter:
        return OkStatus();
      case OpKind::kAddBias:
        return ReverseAddBias(op, g);
      case OpKind::kMatMul:
        return ReverseMatMul(op, g);
      case OpKind::kRedistribute:
        return ReverseRedistribute(op, g);
      default:
        return InvalidArgument("no reverse rule for " + std::string(Name(op.kind)));
    }
  }

  Status ReverseAddBias(const Op& op, ValueId g) {
    if (needed_[op.inputs[0]]) TP_RETURN_IF_ERROR(Deliver(op.inputs[0], g));
    if (!needed_[op.inputs[1]]) return OkStatus();
    TP_ASSIGN_OR_RETURN(const ValueId db,
                        AddSumRows(program_, Phase::kBackward, GradientName(op.inputs[1]), g));
    return Deliver(op.inputs[1], db);
  }

  // y = op(a) op(b): da = g op(b)^T and db = op(a)^T g, each transposed once more where its operand
  // was. The gradient of a comes first: where it needs communication, that overlaps the other.
  Status ReverseMatMul(const Op& op, ValueId g) {
    if (op.inputs.size() != 2) return InvalidArgument("differentiate before fusing biases");
    const ValueId a = op.inputs[0];
    const ValueId b = op.inputs[1];
    if (needed_[a]) {
      StatusOr<ValueId> da =
          op.transpose_a ? AddMatMul(program_, Phase::kBackward, GradientName(a), b, g,
                                     {.transpose_a = op.transpose_b, .transpose_b = true})
                         : AddMatMul(program_, Phase::kBackward, GradientName(a), g, b,
                                     {.transpose_a = false, .transpose_b = !op.transpose_b});
      if (!da.ok()) return da.status();
      TP_RETURN_IF_ERROR(Deliver(a, *da));
    }
    if (!needed_[b]) return OkStatus();
    StatusOr<ValueId> db = op.transpose_b
                               ? AddMatMul(program_, Phase::kBackward, GradientName(b), g, a,
                                           {.transpose_a = true, .transpose_b = op.transpose_a})
                               : AddMatMul(program_, Phase::kBackward, GradientName(b), a, g,
                                           {.transpose_a = !op.transpose_a, .transpose_b = false});
    if (!db.ok()) return db.status();
    return Deliver(b, *db);
  }

  Status ReverseRedistribute(const Op& op, ValueId g) {
    const ValueId v = op.inputs[0];
    for (Axis axis : kAllAxes) {
      const Placement from = program_.value(v).placements[axis];
      if (from == program_.value(op.outputs[0]).placements[axis]) continue;
      TP_ASSIGN_OR_RETURN(g, Redistribute(v, g, axis, Dual(from), Phase::kBackward));
    }
    return Deliver(v, g);
  }

  Program& program_;
  const std::vector<ValueId>& wrt_;
  const std::vector<Op> forward_;  // as it was: the pass appends to program_
  std::vector<bool> needed_;       // lies between wrt and the loss
  std::vector<std::optional<ValueId>> gradient_;
};

}  // namespace

StatusOr<std::vector<ValueId>> AddBackward(Program& program, ValueId loss,
                                           const std::vector<ValueId>& wrt) {
  return ReversePass(program, wrt).Run(loss);
}

}  // namespace tp
