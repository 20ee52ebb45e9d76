#include "tp/autodiff/backward.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "tp/ops/ops.h"
#include "tp/program/reverse.h"
#include "tp/program/typing.h"

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
    const int last = program_.DefinitionOf(loss);
    if (forward_[last].outputs[0] != loss || !program_.value(loss).shape.empty()) {
      return InvalidArgument("'" + program_.value(loss).name +
                             "' is no scalar to start a gradient at");
    }
    TP_RETURN_IF_ERROR(ReverseOp(forward_[last], /*starts=*/true));
    for (int i = last; i-- > 0;) {
      const Op& op = forward_[i];
      const bool reached = std::any_of(op.outputs.begin(), op.outputs.end(),
                                       [&](ValueId out) { return gradient_[out].has_value(); });
      if (reached && !op.IsSource()) TP_RETURN_IF_ERROR(ReverseOp(op, /*starts=*/false));
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
    const bool parameter = forward_[program_.DefinitionOf(id)].Is(kParameter);
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

  class Rule;
  Status ReverseOp(const Op& op, bool starts);

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

// What the rule of one op sees.
class ReversePass::Rule : public Reverse {
 public:
  Rule(ReversePass& pass, const Op& op, const Letters& letters, bool starts)
      : pass_(pass), op_(op), letters_(letters), starts_(starts) {}

  const Attributes& attributes() const override { return op_.attributes; }
  const Letters& letters() const override { return letters_; }
  ValueId in(size_t i) const override { return op_.inputs.at(i); }
  ValueId out(size_t i) const override { return op_.outputs.at(i); }
  bool starts() const override { return starts_; }
  ValueId gradient(size_t i) const override { return pass_.gradient_[out(i)].value(); }
  bool Needs(size_t i) const override { return pass_.needed_[in(i)]; }

  Status Give(size_t i, ValueId gradient) override { return pass_.Deliver(in(i), gradient); }
  Status Give(size_t i, const OpDef& def, std::vector<ValueId> inputs,
              Attributes attributes) override {
    TP_ASSIGN_OR_RETURN(const ValueId gradient,
                        AddOp(pass_.program_, Phase::kBackward, pass_.GradientName(in(i)), def,
                              std::move(inputs), std::move(attributes)));
    return Give(i, gradient);
  }

 private:
  ReversePass& pass_;
  const Op& op_;
  const Letters& letters_;
  const bool starts_;
};

Status ReversePass::ReverseOp(const Op& op, bool starts) {
  if (op.Is(kRedistribute)) {
    if (starts) return InvalidArgument("the gradient starts at an op that computes");
    return ReverseRedistribute(op, *gradient_[op.outputs[0]]);
  }
  if (op.def->reverse == nullptr) {
    return InvalidArgument("no reverse rule for " + std::string(op.def->name) + ": " +
                           std::string(op.def->no_reverse));
  }
  TP_ASSIGN_OR_RETURN(const Letters letters, LettersOf(program_, op));
  Rule rule(*this, op, letters, starts);
  return op.def->reverse(rule);
}

}  // namespace

StatusOr<std::vector<ValueId>> AddBackward(Program& program, ValueId loss,
                                           const std::vector<ValueId>& wrt) {
  return ReversePass(program, wrt).Run(loss);
}

}  // namespace tp
