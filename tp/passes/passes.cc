#include "tp/passes/passes.h"

#include <glog/logging.h>

#include <algorithm>
#include <optional>
#include <tuple>

#include "tp/ops/all.h"

namespace tp {
namespace {

// The axis on which `op` all-gathers, if it does.
std::optional<Axis> GatheredAxis(const Program& program, const Op& op) {
  if (!op.Is(kRedistribute)) return std::nullopt;
  for (Axis axis : kAllAxes) {
    if (IsShard(program.value(op.inputs[0]).placements[axis]) &&
        IsReplicate(program.value(op.outputs[0]).placements[axis])) {
      return axis;
    }
  }
  return std::nullopt;
}

bool Reads(const Op& op, ValueId id) {
  return std::find(op.inputs.begin(), op.inputs.end(), id) != op.inputs.end();
}

bool AnyReads(const std::vector<Op>& ops, ValueId id) {
  return std::any_of(ops.begin(), ops.end(), [&](const Op& op) { return Reads(op, id); });
}

// The redistribute of `id` to `placements`, if nothing else reads `id`.
const Op* OnlySlice(const Program& program, ValueId id, const Placements& placements) {
  if (program.UsesOf(id) != 1) return nullptr;
  for (const Op& op : program.ops()) {
    if (op.Is(kRedistribute) && Reads(op, id) &&
        program.value(op.outputs[0]).placements == placements) {
      return &op;
    }
  }
  return nullptr;
}

// Moves losses, and gradients of losses, from all-gathered values to the shards behind them.
class LossOnShards {
 public:
  explicit LossOnShards(Program& program) : program_(program) {}

  void Run() {
    for (const Op& op : program_.ops()) {
      if (op.Is(kMseLoss)) {
        MoveLoss(op);
      } else if (op.Is(kMseGrad)) {
        MoveGradient(op);
      } else {
        ops_.push_back(op);
      }
    }
    std::erase_if(ops_, [&](const Op& op) {
      return op.Is(kRedistribute) &&
             std::find(computed_.begin(), computed_.end(), op.outputs[0]) != computed_.end();
    });
    program_.ReplaceOps(std::move(ops_));
  }

 private:
  const Op& GatherBehind(const Op& op) const {
    return program_.ops()[program_.DefinitionOf(op.inputs[0])];
  }

  void MoveLoss(Op op) {
    const Op& gather = GatherBehind(op);
    const std::optional<Axis> axis = GatheredAxis(program_, gather);
    // An op that reads the loss has a rule for how it lies now.
    if (axis && !AnyReads(program_.ops(), op.outputs[0])) {
      op.inputs = {gather.inputs[0], SliceLike(gather.inputs[0], op.inputs[1])};
      program_.mutable_value(op.outputs[0]).placements[*axis] = Partial();
    }
    ops_.push_back(std::move(op));
  }

  void MoveGradient(Op op) {
    const Op& gather = GatherBehind(op);
    if (GatheredAxis(program_, gather)) {
      const Placements on_shard = program_.value(gather.inputs[0]).placements;
      if (const Op* slice = OnlySlice(program_, op.outputs[0], on_shard)) {
        computed_.push_back(slice->outputs[0]);
        op.outputs = slice->outputs;
        op.inputs = {gather.inputs[0], SliceLike(gather.inputs[0], op.inputs[1])};
      }
    }
    ops_.push_back(std::move(op));
  }

  // The slice of `targets` that lies as `shard` does; it is made where it is first needed.
  ValueId SliceLike(ValueId shard, ValueId targets) {
    const Placements placements = program_.value(shard).placements;
    for (const auto& [whole, slice] : slices_) {
      if (whole == targets && program_.value(slice).placements == placements) return slice;
    }
    Value value = program_.value(targets);
    value.name = program_.FreeName(value.name + ".shard");
    value.placements = placements;
    Op op;
    op.def = &kRedistribute;
    op.phase = Phase::kForward;
    op.inputs = {targets};
    op.outputs = {program_.AddValue(std::move(value))};
    slices_.emplace_back(targets, op.outputs[0]);
    ops_.push_back(op);
    return op.outputs[0];
  }

  Program& program_;
  std::vector<Op> ops_;
  std::vector<std::pair<ValueId, ValueId>> slices_;  // (targets, their slice)
  std::vector<ValueId> computed_;                    // shards of gradients that were slices
};

// Moves a bias that is added to a product, or to the sum of a partial one, into the product.
class BiasIntoProduct {
 public:
  explicit BiasIntoProduct(Program& program) : program_(program), ops_(program.ops()) {}

  void Run() {
    for (size_t i = 0; i < ops_.size(); ++i) {
      if (ops_[i].Is(kAddBias) && Move(i)) i = 0;
    }
    program_.ReplaceOps(std::move(ops_));
  }

 private:
  // The op that writes `id`, which only op `reader` reads, where no update comes between the two:
  // what it reads is then still there at the reader's place.
  std::optional<size_t> OnlyRead(ValueId id, size_t reader) const {
    if (program_.UsesOf(id) != 1) return std::nullopt;
    for (size_t i = reader; i-- > 0;) {
      if (ops_[i].def->updates >= 0) return std::nullopt;
      if (ops_[i].outputs[0] == id) return i;
    }
    return std::nullopt;
  }

  static bool IsBareProduct(const Op& op) { return op.Is(kMatMul) && op.inputs.size() == 2; }

  // "mk,kn -> mn" becomes "mk,kn + n -> mn".
  static void AddBiasOperand(Op& product, ValueId bias) {
    std::string letters = product.attributes.Text("letters");
    letters.insert(letters.find("->"), std::string("+ ") + letters.back() + " ");
    product.attributes.Set("letters", std::move(letters));
    product.inputs.push_back(bias);
  }

  bool Move(size_t add) {
    const std::optional<size_t> writer = OnlyRead(ops_[add].inputs[0], add);
    if (!writer) return false;
    if (IsBareProduct(ops_[*writer])) {
      Op product = ops_[*writer];
      AddBiasOperand(product, ops_[add].inputs[1]);
      product.outputs = ops_[add].outputs;
      ops_[add] = std::move(product);
      ops_.erase(At(*writer));
      return true;
    }
    return MoveBehindSum(*writer, add);
  }

  // One rank adds the bias to its part of the sum.
  bool MoveBehindSum(size_t sum, size_t add) {
    if (!ops_[sum].Is(kRedistribute)) return false;
    const Placements from = program_.value(ops_[sum].inputs[0]).placements;
    const Placements to = program_.value(ops_[sum].outputs[0]).placements;
    const std::optional<size_t> product = OnlyRead(ops_[sum].inputs[0], sum);
    if (!product || !IsBareProduct(ops_[*product])) return false;
    Value bias = program_.value(ops_[add].inputs[1]);
    bias.name = program_.FreeName(bias.name + ".once");
    for (Axis axis : kAllAxes) {
      if (from[axis] == to[axis]) continue;
      if (!IsPartial(from[axis]) || !IsReplicate(to[axis])) return false;
      bias.placements[axis] = Partial();
    }
    Op once;
    once.def = &kRedistribute;
    once.phase = ops_[*product].phase;
    once.inputs = {ops_[add].inputs[1]};
    once.outputs = {program_.AddValue(std::move(bias))};
    Op with_bias = ops_[*product];
    AddBiasOperand(with_bias, once.outputs[0]);
    ops_[sum].outputs = ops_[add].outputs;
    // In the addition's place, where its bias is known to be written.
    const std::vector<Op> moved = {once, with_bias, ops_[sum]};
    ops_.insert(ops_.erase(At(add)), moved.begin(), moved.end());
    ops_.erase(At(sum));
    ops_.erase(At(*product));
    return true;
  }

  std::vector<Op>::iterator At(size_t i) { return ops_.begin() + static_cast<std::ptrdiff_t>(i); }

  Program& program_;
  std::vector<Op> ops_;
};

// Gradients are synchronised while the backward pass still runs.
int Stage(Phase phase) { return phase == Phase::kForward ? 0 : phase == Phase::kOptimizer ? 2 : 1; }

bool Communicates(const Program& program, const Op& op, const Mesh& mesh) {
  if (!op.Is(kRedistribute)) return false;
  const Placements from = program.value(op.inputs[0]).placements;
  const Placements to = program.value(op.outputs[0]).placements;
  return std::any_of(kAllAxes.begin(), kAllAxes.end(), [&](Axis axis) {
    return mesh.Size(axis) > 1 && from[axis] != to[axis] && !IsReplicate(from[axis]);
  });
}

}  // namespace

void ComputeLossOnShards(Program& program) {
  if (program.sum_order() == SumOrder::kFast) LossOnShards(program).Run();
}

void FuseLossAndGradient(Program& program) {
  std::vector<Op> ops = program.ops();
  for (size_t i = 0; i < ops.size(); ++i) {
    if (!ops[i].Is(kMseLoss)) continue;
    for (size_t j = i + 1; j < ops.size(); ++j) {
      if (!ops[j].Is(kMseGrad) || ops[j].inputs != ops[i].inputs ||
          ops[j].attributes != ops[i].attributes) {
        continue;
      }
      ops[i].def = &kMseLossGrad;
      ops[i].outputs.push_back(ops[j].outputs[0]);
      ops.erase(ops.begin() + static_cast<std::ptrdiff_t>(j));
      break;
    }
  }
  program.ReplaceOps(std::move(ops));
}

void FuseBias(Program& program) {
  if (program.sum_order() == SumOrder::kFast) BiasIntoProduct(program).Run();
}

void DropDeadOps(Program& program) {
  std::vector<bool> live(program.values().size());
  for (ValueId id : program.results()) live[id] = true;
  std::vector<Op> kept;
  for (auto op = program.ops().rbegin(); op != program.ops().rend(); ++op) {
    const bool alive =
        op->IsSource() || op->def->updates >= 0 ||
        std::any_of(op->outputs.begin(), op->outputs.end(), [&](ValueId id) { return live[id]; });
    if (!alive) continue;
    for (ValueId id : op->inputs) live[id] = true;
    kept.push_back(*op);
  }
  std::reverse(kept.begin(), kept.end());
  program.ReplaceOps(std::move(kept));
}

void StartCommunicationEarly(Program& program, const Mesh& mesh) {
  const std::vector<Op>& ops = program.ops();
  const size_t n = ops.size();
  std::vector<int> writer(program.values().size(), -1);
  for (size_t i = 0; i < n; ++i) {
    for (ValueId id : ops[i].outputs) writer[id] = static_cast<int>(i);
  }
  // urgency[i]: elements that redistributes right behind op i move (an op's own, for a
  // redistribute). Only direct consumers count: what is further away has its own producers.
  std::vector<int64_t> urgency(n);
  for (size_t i = 0; i < n; ++i) {
    if (!Communicates(program, ops[i], mesh)) continue;
    const int64_t moved = NumElements(program.value(ops[i].inputs[0]).shape);
    urgency[i] = std::max(urgency[i], moved);
    const int producer = writer[ops[i].inputs[0]];
    urgency[producer] = std::max(urgency[producer], moved);
  }
  if (std::all_of(urgency.begin(), urgency.end(), [](int64_t u) { return u == 0; })) return;
  std::vector<bool> done(n);
  std::vector<Op> ordered;
  const auto ready = [&](size_t i) {
    if (ops[i].def->updates >= 0) {  // after every read of the parameter
      for (ValueId id : program.SharersOf(ops[i].inputs[ops[i].def->updates])) {
        for (size_t j = 0; j < n; ++j) {
          if (j != i && !done[j] && Reads(ops[j], id)) return false;
        }
      }
    }
    return std::all_of(ops[i].inputs.begin(), ops[i].inputs.end(),
                       [&](ValueId id) { return done[writer[id]]; });
  };
  while (ordered.size() < n) {
    size_t best = n;
    for (size_t i = 0; i < n; ++i) {
      if (done[i] || !ready(i)) continue;
      // Forward, backward, optimizer; within each the most urgent first, products before the
      // rest, then program order.
      const auto key = [&](size_t op) {
        return std::tuple(Stage(ops[op].phase), -urgency[op], !ops[op].Is(kMatMul));
      };
      if (best == n || key(i) < key(best)) best = i;
    }
    CHECK_LT(best, n) << "the program has a cycle";
    done[best] = true;
    ordered.push_back(ops[best]);
  }
  program.ReplaceOps(std::move(ordered));
}

void Optimize(Program& program, const Mesh& mesh) {
  ComputeLossOnShards(program);
  FuseLossAndGradient(program);
  FuseBias(program);
  DropDeadOps(program);
  StartCommunicationEarly(program, mesh);
}

}  // namespace tp
