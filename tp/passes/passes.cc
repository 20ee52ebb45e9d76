#include "tp/passes/passes.h"

#include <algorithm>
#include <optional>

#include "tp/program/rules.h"

namespace tp {
namespace {

void ReplaceUses(std::vector<Op>& ops, ValueId from, ValueId to) {
  for (Op& op : ops) std::replace(op.inputs.begin(), op.inputs.end(), from, to);
}

const Op* DefiningOp(const std::vector<Op>& ops, ValueId id) {
  for (const Op& op : ops) {
    if (std::find(op.outputs.begin(), op.outputs.end(), id) != op.outputs.end()) return &op;
  }
  return nullptr;
}

// The axis on which `op` all-gathers, if it does.
std::optional<Axis> GatheredAxis(const Program& program, const Op& op) {
  if (op.kind != OpKind::kRedistribute) return std::nullopt;
  for (Axis axis : kAllAxes) {
    if (IsShard(program.value(op.inputs[0]).placements[axis]) &&
        IsReplicate(program.value(op.outputs[0]).placements[axis])) {
      return axis;
    }
  }
  return std::nullopt;
}

// Whether everything that reads `id` is a slice to `placements`.
bool OnlySliced(const Program& program, ValueId id, const Placements& placements) {
  const auto& results = program.results();
  if (std::find(results.begin(), results.end(), id) != results.end()) return false;
  return std::all_of(program.ops().begin(), program.ops().end(), [&](const Op& op) {
    const bool reads = std::find(op.inputs.begin(), op.inputs.end(), id) != op.inputs.end();
    return !reads || (op.kind == OpKind::kRedistribute &&
                      program.value(op.outputs[0]).placements == placements);
  });
}

// Gradients are synchronised while the backward pass still runs.
int Stage(Phase phase) { return phase == Phase::kForward ? 0 : phase == Phase::kOptimizer ? 2 : 1; }

bool Communicates(const Program& program, const Op& op, const Mesh& mesh) {
  if (op.kind != OpKind::kRedistribute) return false;
  const Placements from = program.value(op.inputs[0]).placements;
  const Placements to = program.value(op.outputs[0]).placements;
  return std::any_of(kAllAxes.begin(), kAllAxes.end(), [&](Axis axis) {
    return mesh.Size(axis) > 1 && from[axis] != to[axis] && !IsReplicate(from[axis]);
  });
}

}  // namespace

void ComputeLossOnShards(Program& program) {
  std::vector<Op> ops;
  std::vector<std::pair<ValueId, ValueId>> slices;  // (targets, their slice), made once each
  std::vector<ValueId> sliced;                      // gradients now computed on the shard
  for (Op op : program.ops()) {
    const bool loss = op.kind == OpKind::kMseLoss;
    if (!loss && op.kind != OpKind::kMseGrad) {
      ops.push_back(std::move(op));
      continue;
    }
    const Op* gather = DefiningOp(program.ops(), op.inputs[0]);
    const std::optional<Axis> axis = GatheredAxis(program, *gather);
    const Placements on_shard = axis ? program.value(gather->inputs[0]).placements : Placements();
    if (!axis || (!loss && !OnlySliced(program, op.outputs[0], on_shard))) {
      ops.push_back(std::move(op));
      continue;
    }
    const ValueId targets = op.inputs[1];
    auto known = std::find_if(slices.begin(), slices.end(),
                              [&](const auto& slice) { return slice.first == targets; });
    if (known == slices.end()) {
      Value value = program.value(targets);
      value.name += ".shard";
      value.placements = on_shard;
      Op slice;
      slice.kind = OpKind::kRedistribute;
      slice.phase = Phase::kForward;
      slice.inputs = {targets};
      slice.outputs = {program.AddValue(std::move(value))};
      slices.emplace_back(targets, slice.outputs[0]);
      ops.push_back(std::move(slice));
      known = std::prev(slices.end());
    }
    op.inputs = {gather->inputs[0], known->second};
    if (loss) {
      program.mutable_value(op.outputs[0]).placements[*axis] = Partial();
    } else {
      program.mutable_value(op.outputs[0]).placements = on_shard;
      sliced.push_back(op.outputs[0]);
    }
    ops.push_back(std::move(op));
  }
  // The slices of a gradient that is computed sliced are now the gradient itself.
  for (ValueId gradient : sliced) {
    for (auto op = ops.begin(); op != ops.end();) {
      if (op->kind == OpKind::kRedistribute && op->inputs[0] == gradient) {
        const ValueId slice = op->outputs[0];
        program.mutable_value(gradient).name = program.value(slice).name;
        op = ops.erase(op);
        ReplaceUses(ops, slice, gradient);
      } else {
        ++op;
      }
    }
  }
  program.ReplaceOps(std::move(ops));
}

void FuseLossAndGradient(Program& program) {
  std::vector<Op> ops = program.ops();
  for (size_t i = 0; i < ops.size(); ++i) {
    if (ops[i].kind != OpKind::kMseLoss) continue;
    for (size_t j = i + 1; j < ops.size(); ++j) {
      if (ops[j].kind != OpKind::kMseGrad || ops[j].inputs != ops[i].inputs ||
          ops[j].scale != ops[i].scale) {
        continue;
      }
      ops[i].kind = OpKind::kMseLossGrad;
      ops[i].outputs.push_back(ops[j].outputs[0]);
      ops.erase(ops.begin() + static_cast<std::ptrdiff_t>(j));
      break;
    }
  }
  program.ReplaceOps(std::move(ops));
}

void FuseBias(Program& program) {
  std::vector<Op> ops = program.ops();
  for (size_t i = 0; i < ops.size(); ++i) {
    if (ops[i].kind != OpKind::kAddBias) continue;
    const ValueId product = ops[i].inputs[0];
    auto matmul = std::find_if(ops.begin(), ops.end(), [&](const Op& op) {
      return op.kind == OpKind::kMatMul && op.outputs[0] == product;
    });
    if (matmul == ops.end() || matmul->inputs.size() != 2 || program.UsesOf(product) != 1) continue;
    Op fused = *matmul;
    fused.inputs.push_back(ops[i].inputs[1]);
    fused.outputs = ops[i].outputs;
    ops[i] = std::move(fused);
    ops.erase(matmul);
    --i;
  }
  program.ReplaceOps(std::move(ops));
}

void DropDeadOps(Program& program) {
  std::vector<bool> live(program.values().size());
  for (ValueId id : program.results()) live[id] = true;
  std::vector<Op> kept;
  for (auto op = program.ops().rbegin(); op != program.ops().rend(); ++op) {
    const bool source = op->kind == OpKind::kInput || op->kind == OpKind::kParameter;
    const bool alive =
        source || op->kind == OpKind::kSgdUpdate ||
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
  std::vector<bool> done(n);
  std::vector<Op> ordered;
  const auto ready = [&](size_t i) {
    if (ops[i].kind == OpKind::kSgdUpdate) {  // after every read of the parameter
      for (size_t j = 0; j < n; ++j) {
        const auto& in = ops[j].inputs;
        const bool reads = std::find(in.begin(), in.end(), ops[i].inputs[0]) != in.end();
        if (j != i && !done[j] && reads) return false;
      }
    }
    return std::all_of(ops[i].inputs.begin(), ops[i].inputs.end(),
                       [&](ValueId id) { return done[writer[id]]; });
  };
  while (ordered.size() < n) {
    size_t best = n;
    for (size_t i = 0; i < n; ++i) {
      if (done[i] || !ready(i)) continue;
      // Forward, backward, optimizer; within each the most urgent first, then program order.
      if (best == n || Stage(ops[i].phase) < Stage(ops[best].phase) ||
          (Stage(ops[i].phase) == Stage(ops[best].phase) && urgency[i] > urgency[best])) {
        best = i;
      }
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
