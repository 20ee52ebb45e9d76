#include "tp/autodiff/backward.h"

#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "tp/autodiff/gradient.h"
#include "tp/autodiff/whole_terms.h"
#include "tp/ops/ops.h"
#include "tp/program/reverse.h"
#include "tp/program/typing.h"

namespace tp {
namespace {

class ReversePass {
 public:
  ReversePass(Program& program, const std::vector<ValueId>& wrt, bool finish)
      : program_(program),
        wrt_(wrt),
        finish_(finish),
        forward_(program.ops()),
        asked_(program.values().size()),
        needed_(program.values().size()),
        uses_(program.values().size()),
        contributions_(program.values().size()),
        gradient_(program.values().size()),
        starts_(program.values().size()),
        whole_(program) {
    for (ValueId id : wrt) asked_[id] = needed_[id] = true;
    for (const Op& op : forward_) {
      for (ValueId in : op.inputs) {
        if (!needed_[in]) continue;
        for (size_t i = 0; i < op.outputs.size(); ++i) {
          if (!IsConstant(op, i)) needed_[op.outputs[i]] = true;
        }
      }
    }
  }

  StatusOr<std::vector<ValueId>> Run(ValueId loss) {
    const int last = program_.DefinitionOf(loss);
    if (forward_[last].outputs[0] != loss || !program_.value(loss).shape.empty()) {
      return InvalidArgument("'" + program_.value(loss).name +
                             "' is no scalar to start a gradient at");
    }
    CountUses(loss, last);
    starts_[loss] = true;
    return ReverseOpsBefore(last + 1);
  }

  // The same from `y`, whose gradient is `dy`.
  StatusOr<std::vector<ValueId>> RunFrom(ValueId y, ValueId dy) {
    const Value &of = program_.value(y), &is = program_.value(dy);
    if (is.shape != of.shape || is.dtype != of.dtype || is.placements != Dual(of.placements)) {
      return InvalidArgument("'" + is.name + "' does not lie as the gradient of '" + of.name + "'");
    }
    const int last = program_.DefinitionOf(y);
    CountUses(y, last);
    gradient_[y] = dy;
    return ReverseOpsBefore(last + 1);
  }

 private:
  StatusOr<std::vector<ValueId>> ReverseOpsBefore(int end) {
    for (int i = end; i-- > 0;) {
      const Op& op = forward_[i];
      for (ValueId out : op.outputs) TP_RETURN_IF_ERROR(Complete(out));
      const bool reached = std::any_of(op.outputs.begin(), op.outputs.end(),
                                       [&](ValueId out) { return gradient_[out].has_value(); });
      const bool starts = !op.outputs.empty() && starts_[op.outputs[0]];
      if ((reached || starts) && !op.IsSource()) TP_RETURN_IF_ERROR(ReverseOp(op, starts));
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

  std::string GradientName(ValueId id) const { return tp::GradientName(program_, id); }

  // How often each value is read on the way to `loss`, which op `last` writes, so that its gradient
  // is completed as soon as the last contribution is there.
  void CountUses(ValueId loss, int last) {
    std::vector<bool> leads(program_.values().size());
    leads[loss] = true;
    for (int i = last; i >= 0; --i) {
      const Op& op = forward_[i];
      if (std::none_of(op.outputs.begin(), op.outputs.end(), [&](ValueId v) { return leads[v]; })) {
        continue;
      }
      for (ValueId in : op.inputs) {
        leads[in] = true;
        ++uses_[in];
      }
    }
  }

  // Notes a contribution to the gradient of `id`. Two operands of one op may be the same value.
  Status Deliver(ValueId id, ValueId contribution) {
    contributions_[id].push_back(contribution);
    return static_cast<int>(contributions_[id].size()) == uses_[id] ? Complete(id) : OkStatus();
  }

  // Adds up what has come, while it is Partial, and makes it whole if the caller asked for it, or
  // what wrote the value is not linear: its reverse rule can't work on parts of a sum.
  Status Complete(ValueId id) {
    if (gradient_[id] || contributions_[id].empty()) return OkStatus();
    TP_ASSIGN_OR_RETURN(const ValueId gradient, Sum(id));
    TP_ASSIGN_OR_RETURN(gradient_[id],
                        BringGradientTo(program_, id, gradient, Wanted(id, gradient), PhaseOf(id)));
    return OkStatus();
  }

  // How the gradient of `id` is to lie: whole if the caller asked for it; at least no sum if the op
  // that reads it can't take one. What was summed whole (WholeTerms) goes on as the shard that the
  // value is.
  Placements Wanted(ValueId id, ValueId gradient) const {
    const Placements own = Dual(program_.value(id).placements);
    if (asked_[id] && finish_) return own;
    const Placements from = program_.value(gradient).placements;
    const bool no_sum = IsNonlinear(id);
    Placements to = from;
    for (const auto& [axis, placement] : own.entries()) {  // in the order in which they cut
      if (IsReplicate(from[axis]) || (IsPartial(from[axis]) && no_sum)) to.Set(axis, placement);
    }
    for (const auto& [axis, placement] : from.entries()) {
      if (IsPartial(placement) && no_sum) to.Set(axis, own[axis]);
    }
    return to;
  }

  static bool IsConstant(const Op& op, size_t output) {
    return (op.def->constant >> output & 1) != 0;
  }

  bool IsNonlinear(ValueId id) const {
    const OpDef& def = *forward_[program_.DefinitionOf(id)].def;
    return def.role == OpRole::kCompute && !def.linear;
  }

  StatusOr<ValueId> Sum(ValueId id) {
    std::vector<ValueId> parts = contributions_[id];
    if (parts.size() == 1) return parts[0];
    for (ValueId& part : parts) {
      TP_ASSIGN_OR_RETURN(part, CompleteSumTree(id, part));
    }
    const std::string name = GradientName(id);
    ValueId sum = parts[0];
    for (size_t i = 1; i < parts.size(); ++i) {
      ValueId part = parts[i];
      TP_RETURN_IF_ERROR(LieAlike(id, sum, part));
      if (program_.value(sum).name == name) {
        program_.Rename(sum, program_.FreeName(name + ".part"));
      }
      TP_ASSIGN_OR_RETURN(
          sum, AddOp(program_, Phase::kBackward, program_.FreeName(name), kAdd, {sum, part}));
    }
    return sum;
  }

  // Partial sums in the invariant order are not one number each, so that nothing can be added to
  // them: they are completed first.
  StatusOr<ValueId> CompleteSumTree(ValueId id, ValueId part) {
    const Placements placements = program_.value(part).placements;
    for (const auto& [axis, placement] : placements.entries()) {
      if (!program_.IsSumTree(part) || !IsPartial(placement)) continue;
      TP_ASSIGN_OR_RETURN(part,
                          RedistributeGradient(program_, id, part, axis, Replicate(), PhaseOf(id)));
    }
    return part;
  }

  // Of what makes the gradient of `id` whole.
  Phase PhaseOf(ValueId id) const {
    const bool parameter = forward_[program_.DefinitionOf(id)].Is(kParameter);
    return parameter ? Phase::kGradientSync : Phase::kBackward;
  }

  // Brings two contributions to one placement. What is whole is also a sum, with zeros on all ranks
  // but one, so that a sum is taken once for both; else both become the gradient's own.
  Status LieAlike(ValueId id, ValueId& a, ValueId& b) {
    const Placements of_a = program_.value(a).placements;
    const Placements of_b = program_.value(b).placements;
    const Placements own = Dual(program_.value(id).placements);
    std::set<Axis> axes;
    for (const Placements* each : {&of_a, &of_b, &own}) {
      for (const auto& entry : each->entries()) axes.insert(entry.axis);
    }
    auto cut = own.entries().begin();
    for (const Axis& told : axes) {
      // What cuts one dimension, in the order in which it does.
      const Axis axis = IsReplicate(own[told]) ? told : (cut++)->axis;
      if (of_a[axis] == of_b[axis]) continue;
      const bool sum = !IsShard(of_a[axis]) && !IsShard(of_b[axis]);
      const Placement to = sum ? Partial() : own[axis];
      for (ValueId* each : {&a, &b}) {
        const std::string name = program_.FreeName(GradientName(id) + ".alike");
        TP_ASSIGN_OR_RETURN(*each,
                            AddRedistribute(program_, Phase::kBackward, name, *each, axis, to));
      }
    }
    return OkStatus();
  }

  class Rule;
  Status ReverseOp(const Op& op, bool starts);

  // Of a sum of losses: the gradient starts at each of them.
  Status StartAtTerms(const Op& op) {
    for (ValueId term : op.inputs) {
      if (!needed_[term]) continue;
      if (uses_[term] != 1) {
        return InvalidArgument("'" + program_.value(term).name +
                               "' is a term of the loss, and read besides");
      }
      starts_[term] = true;
    }
    return OkStatus();
  }

  Status ReverseRedistribute(const Op& op, ValueId g) {
    const ValueId v = op.inputs[0];
    const Placements from = program_.value(v).placements;
    const Placements to = program_.value(op.outputs[0]).placements;
    for (const Placements* either : {&from, &to}) {
      for (const auto& [axis, placement] : either->entries()) {
        if (from[axis] == to[axis]) continue;
        TP_ASSIGN_OR_RETURN(
            g, RedistributeGradient(program_, v, g, axis, Dual(from[axis]), Phase::kBackward));
      }
    }
    return Deliver(v, g);
  }

  Program& program_;
  const std::vector<ValueId>& wrt_;
  const bool finish_;              // makes the gradients of wrt whole
  const std::vector<Op> forward_;  // as it was: the pass appends to program_
  // By value.
  std::vector<bool> asked_;   // it is one of wrt
  std::vector<bool> needed_;  // it lies between wrt and the loss
  std::vector<int> uses_;
  std::vector<std::vector<ValueId>> contributions_;
  std::vector<std::optional<ValueId>> gradient_;  // once complete
  std::vector<bool> starts_;                      // the gradient is 1
  WholeTerms whole_;
};

// What the rule of one op sees.
class ReversePass::Rule : public Reverse {
 public:
  Rule(ReversePass& pass, const Op& op, const Letters& letters, bool starts)
      : pass_(pass),
        op_(op),
        letters_(letters),
        starts_(starts),
        given_(op.inputs.size()),
        taken_(op.outputs.size()) {}

  // Whether the rule, which says `status`, had what it asked for, took all that came, and gave all
  // that is needed.
  Status Check(Status status) const {
    if (!status.ok() && !lacks_) return status;
    const std::string of = "' of " + std::string(op_.def->name);
    bool needs_any = false;
    for (size_t i = 0; i < op_.inputs.size(); ++i) needs_any = needs_any || Needs(i);
    if (!needs_any) return status;
    for (size_t i = 0; i < op_.outputs.size(); ++i) {
      if (!pass_.gradient_[out(i)] || taken_[i]) continue;
      return InvalidArgument("the loss depends on '" + value(out(i)).name + of +
                             ", whose reverse rule takes no gradient of output " +
                             std::to_string(i));
    }
    if (lacks_) {
      return InvalidArgument("no gradient starts at '" + value(out(0)).name + of +
                             "; AddBackwardFrom takes one as a value");
    }
    for (size_t i = 0; i < op_.inputs.size(); ++i) {
      if (!Needs(i) || given_[i]) continue;
      return InvalidArgument("the reverse rule" + of.substr(1) + " gives no gradient of '" +
                             value(in(i)).name + "', its operand " + std::to_string(i));
    }
    return status;
  }

  const Attributes& attributes() const override { return op_.attributes; }
  const Letters& letters() const override { return letters_; }
  ValueId in(size_t i) const override { return op_.inputs.at(i); }
  ValueId out(size_t i) const override { return op_.outputs.at(i); }
  const Value& value(ValueId id) const override { return pass_.program_.value(id); }
  bool starts() const override { return starts_; }
  ValueId gradient(size_t i) const override {
    taken_[i] = true;
    const std::optional<ValueId>& gradient = pass_.gradient_[out(i)];
    lacks_ = lacks_ || !gradient;
    return gradient.value_or(out(i));  // of the same shape; Check tells
  }
  bool Needs(size_t i) const override { return pass_.needed_[in(i)]; }

  Status Give(size_t i, ValueId gradient) override {
    given_[i] = true;
    return pass_.Deliver(in(i), gradient);
  }
  Status Give(size_t i, const OpDef& def, std::vector<ValueId> inputs,
              Attributes attributes) override {
    TP_ASSIGN_OR_RETURN(inputs, pass_.whole_.Of(def, std::move(inputs), attributes));
    TP_ASSIGN_OR_RETURN(
        const ValueId gradient,
        AddOp(pass_.program_, Phase::kBackward, pass_.program_.FreeName(pass_.GradientName(in(i))),
              def, std::move(inputs), std::move(attributes)));
    return Give(i, gradient);
  }
  Status Give(const std::vector<size_t>& of, const OpDef& def, std::vector<ValueId> inputs,
              Attributes attributes) override {
    TP_ASSIGN_OR_RETURN(inputs, pass_.whole_.Of(def, std::move(inputs), attributes));
    std::vector<std::string> names;
    for (size_t i : of) {
      names.push_back(pass_.program_.FreeName(pass_.GradientName(in(i))));
      // One op may have two operands that are the same value.
      while (std::count(names.begin(), names.end(), names.back()) > 1) names.back() += ".2";
    }
    TP_ASSIGN_OR_RETURN(const std::vector<ValueId> gradients,
                        AddOp(pass_.program_, Phase::kBackward, std::move(names), def,
                              std::move(inputs), std::move(attributes)));
    for (size_t k = 0; k < of.size(); ++k) {
      if (Needs(of[k])) TP_RETURN_IF_ERROR(Give(of[k], gradients[k]));
    }
    return OkStatus();
  }

 private:
  ReversePass& pass_;
  const Op& op_;
  const Letters& letters_;
  const bool starts_;
  std::vector<bool> given_;          // by input
  mutable std::vector<bool> taken_;  // by output
  mutable bool lacks_ = false;       // a gradient that was asked for
};

Status ReversePass::ReverseOp(const Op& op, bool starts) {
  if (op.Is(kRedistribute)) {
    if (starts) return InvalidArgument("the gradient starts at an op that computes");
    return ReverseRedistribute(op, *gradient_[op.outputs[0]]);
  }
  if (starts && op.Is(kAdd)) return StartAtTerms(op);
  if (op.def->reverse == nullptr) {
    return InvalidArgument("no reverse rule for " + std::string(op.def->name) + ": " +
                           std::string(op.def->no_reverse));
  }
  TP_ASSIGN_OR_RETURN(const Letters letters, LettersOf(program_, op));
  Rule rule(*this, op, letters, starts);
  return rule.Check(op.def->reverse(rule));
}

}  // namespace

StatusOr<std::vector<ValueId>> AddBackward(Program& program, ValueId loss,
                                           const std::vector<ValueId>& wrt) {
  return ReversePass(program, wrt, /*finish=*/true).Run(loss);
}

StatusOr<std::vector<ValueId>> AddUnfinishedBackward(Program& program, ValueId loss,
                                                     const std::vector<ValueId>& wrt) {
  return ReversePass(program, wrt, /*finish=*/false).Run(loss);
}

StatusOr<std::vector<ValueId>> AddBackwardFrom(Program& program, ValueId y, ValueId dy,
                                               const std::vector<ValueId>& wrt) {
  return ReversePass(program, wrt, /*finish=*/true).RunFrom(y, dy);
}

StatusOr<ValueId> FinishGradient(Program& program, ValueId w, ValueId gradient) {
  return BringGradientTo(program, w, gradient, Dual(program.value(w).placements),
                         Phase::kGradientSync);
}

}  // namespace tp
