#include "tp/program/program.h"

#include <glog/logging.h>

#include <algorithm>

#include "tp/program/rules.h"

namespace tp {

std::string_view Name(Phase phase) {
  switch (phase) {
    case Phase::kForward:
      return "forward";
    case Phase::kBackward:
      return "backward";
    case Phase::kGradientSync:
      return "gradient_sync";
    case Phase::kOptimizer:
      return "optimizer";
  }
  LOG(FATAL) << "no such phase: " << static_cast<int>(phase);
}

std::string_view Name(OpKind kind) {
  switch (kind) {
    case OpKind::kInput:
      return "input";
    case OpKind::kParameter:
      return "parameter";
    case OpKind::kMatMul:
      return "matmul";
    case OpKind::kAddBias:
      return "add_bias";
    case OpKind::kMseLoss:
      return "mse_loss";
    case OpKind::kMseGrad:
      return "mse_grad";
    case OpKind::kMseLossGrad:
      return "mse_loss_grad";
    case OpKind::kSumRows:
      return "sum_rows";
    case OpKind::kRedistribute:
      return "redistribute";
    case OpKind::kSgdUpdate:
      return "sgd_update";
  }
  LOG(FATAL) << "no such op: " << static_cast<int>(kind);
}

ValueId Program::AddValue(Value value) {
  values_.push_back(std::move(value));
  return static_cast<ValueId>(values_.size()) - 1;
}

int Program::DefinitionOf(ValueId id) const {
  for (size_t i = 0; i < ops_.size(); ++i) {
    const auto& outputs = ops_[i].outputs;
    if (std::find(outputs.begin(), outputs.end(), id) != outputs.end()) return static_cast<int>(i);
  }
  LOG(FATAL) << "no op writes value " << id << " (" << value(id).name << ")";
}

int Program::UpdateOf(ValueId id) const {
  for (size_t i = 0; i < ops_.size(); ++i) {
    if (ops_[i].kind == OpKind::kSgdUpdate && ops_[i].inputs[0] == id) return static_cast<int>(i);
  }
  return -1;
}

int Program::UsesOf(ValueId id) const {
  int uses = static_cast<int>(std::count(results_.begin(), results_.end(), id));
  for (const Op& op : ops_) {
    uses += static_cast<int>(std::count(op.inputs.begin(), op.inputs.end(), id));
  }
  return uses;
}

std::vector<ValueId> Program::SharersOf(ValueId id) const {
  std::vector<ValueId> sharers = {id};
  for (const Op& op : ops_) {
    if (op.kind != OpKind::kRedistribute) continue;
    const bool shares = std::find(sharers.begin(), sharers.end(), op.inputs[0]) != sharers.end();
    if (shares) sharers.push_back(op.outputs[0]);
  }
  return sharers;
}

bool Program::IsSumTree(ValueId id) const {
  const OpKind kind = ops_[DefinitionOf(id)].kind;
  const Placements placements = value(id).placements;
  return sum_order_ == SumOrder::kInvariant &&
         (kind == OpKind::kMatMul || kind == OpKind::kSumRows) &&
         std::any_of(kAllAxes.begin(), kAllAxes.end(),
                     [&](Axis axis) { return IsPartial(placements[axis]); });
}

StatusOr<ValueId> Program::Find(std::string_view name) const {
  for (const Op& op : ops_) {
    for (ValueId id : op.outputs) {
      if (value(id).name == name) return id;
    }
  }
  return NotFound("the program has no value named '" + std::string(name) + "'");
}

namespace {

std::string Describe(const Program& program, const Op& op) {
  std::string text(Name(op.kind));
  text += "(";
  for (size_t i = 0; i < op.inputs.size(); ++i) {
    if (i > 0) text += ", ";
    const ValueId id = op.inputs[i];
    const bool known = id >= 0 && id < static_cast<int>(program.values().size());
    text += known ? program.value(id).name : "value " + std::to_string(id);
    const bool transposed = (i == 0 && op.transpose_a) || (i == 1 && op.transpose_b);
    if (op.kind == OpKind::kMatMul && transposed) text += "^T";
  }
  return text + ")";
}

// Whether `op` makes whole, replicated values of partial sums.
bool CompletesSums(const Program& program, const Op& op) {
  if (op.kind != OpKind::kRedistribute) return false;
  return std::all_of(kAllAxes.begin(), kAllAxes.end(), [&](Axis axis) {
    return !IsPartial(program.value(op.inputs[0]).placements[axis]) ||
           IsReplicate(program.value(op.outputs[0]).placements[axis]);
  });
}

Status VerifyOp(const Program& program, const Op& op, std::vector<bool>& written,
                std::vector<bool>& updated) {
  const int num_values = static_cast<int>(program.values().size());
  for (ValueId id : op.inputs) {
    if (id < 0 || id >= num_values) return InvalidArgument("an input is no value of the program");
    if (!written[id]) return InvalidArgument("reads '" + program.value(id).name + "' too early");
    if (updated[id]) {
      return InvalidArgument("reads '" + program.value(id).name +
                             "' after the update of its memory");
    }
    if (program.IsSumTree(id) && !CompletesSums(program, op)) {
      return InvalidArgument("reads '" + program.value(id).name +
                             "', partial sums in the invariant order, which are to be "
                             "redistributed to Replicate first");
    }
  }
  if (program.sum_order() == SumOrder::kInvariant && op.kind == OpKind::kMatMul &&
      op.inputs.size() == 3) {
    return InvalidArgument("has a bias, which the invariant order adds to the finished product");
  }
  for (ValueId id : op.outputs) {
    if (id < 0 || id >= num_values) return InvalidArgument("an output is no value of the program");
    if (written[id]) return InvalidArgument("'" + program.value(id).name + "' is written twice");
    written[id] = true;
  }
  TP_RETURN_IF_ERROR(CheckTypes(program, op));
  if (op.kind == OpKind::kSgdUpdate) {
    if (program.ops()[program.DefinitionOf(op.inputs[0])].kind != OpKind::kParameter) {
      return InvalidArgument("'" + program.value(op.inputs[0]).name + "' is no parameter");
    }
    for (ValueId id : program.SharersOf(op.inputs[0])) updated[id] = true;
  }
  return OkStatus();
}

}  // namespace

Status Verify(const Program& program) {
  std::vector<bool> written(program.values().size());
  std::vector<bool> updated(program.values().size());
  for (const Op& op : program.ops()) {
    Status status = VerifyOp(program, op, written, updated);
    if (!status.ok()) return status.WithContext(Describe(program, op));
  }
  for (ValueId id : program.results()) {
    if (id < 0 || id >= static_cast<int>(written.size()) || !written[id]) {
      return InvalidArgument("result " + std::to_string(id) + " is written by no op");
    }
    if (program.IsSumTree(id)) {
      return InvalidArgument("result '" + program.value(id).name +
                             "' is partial sums in the invariant order, which are to be "
                             "redistributed to Replicate first");
    }
    if (updated[id]) {
      return InvalidArgument("result '" + program.value(id).name +
                             "' is overwritten by a parameter's update");
    }
  }
  return OkStatus();
}

std::string ToString(const Program& program) {
  std::string text;
  for (const Op& op : program.ops()) {
    for (size_t i = 0; i < op.outputs.size(); ++i) {
      const Value& value = program.value(op.outputs[i]);
      if (i > 0) text += ", ";
      text += value.name + ": " + std::string(Name(value.dtype)) + " " + ToString(value.shape) +
              " " + ToString(value.placements);
    }
    text += " = " + Describe(program, op) + "  # " + std::string(Name(op.phase)) + "\n";
  }
  return text;
}

}  // namespace tp
