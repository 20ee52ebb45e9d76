#include "tp/passes/passes.h"

#include <glog/logging.h>

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <queue>
#include <tuple>
#include <utility>

#include "tp/ops/all.h"
#include "tp/passes/op_order.h"

namespace tp {
namespace {

// The axis on which `op` all-gathers, if it does.
std::optional<Axis> GatheredAxis(const Program& program, const Op& op) {
  if (!op.Is(kRedistribute)) return std::nullopt;
  for (const auto& [axis, placement] : program.value(op.inputs[0]).placements.entries()) {
    if (IsShard(placement) && IsReplicate(program.value(op.outputs[0]).placements[axis])) {
      return axis;
    }
  }
  return std::nullopt;
}

// The redistribute of `id` to `placements`, if nothing else reads `id`.
const Op* OnlySlice(const Program& program, ValueId id, const Placements& placements) {
  const std::vector<int>& readers = program.ReadersOf(id);
  if (program.UsesOf(id) != 1 || readers.empty()) return nullptr;
  const Op& op = program.ops()[readers[0]];
  const bool slice = op.Is(kRedistribute) && program.value(op.outputs[0]).placements == placements;
  return slice ? &op : nullptr;
}

// Moves losses, and gradients of losses, from all-gathered values to the shards behind them.
class LossOnShards {
 public:
  explicit LossOnShards(Program& program) : program_(program), computed_(program.values().size()) {}

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
      if (!op.Is(kRedistribute)) return false;
      const auto out = static_cast<size_t>(op.outputs[0]);
      return out < computed_.size() && computed_[out];
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
    if (axis && program_.ReadersOf(op.outputs[0]).empty()) {
      op.inputs = {gather.inputs[0], SliceLike(gather.inputs[0], op.inputs[1])};
      program_.SetPlacement(op.outputs[0], *axis, Partial());
    }
    ops_.push_back(std::move(op));
  }

  void MoveGradient(Op op) {
    const Op& gather = GatherBehind(op);
    if (GatheredAxis(program_, gather)) {
      const Placements on_shard = program_.value(gather.inputs[0]).placements;
      if (const Op* slice = OnlySlice(program_, op.outputs[0], on_shard)) {
        computed_[slice->outputs[0]] = true;
        op.outputs = slice->outputs;
        op.inputs = {gather.inputs[0], SliceLike(gather.inputs[0], op.inputs[1])};
      }
    }
    ops_.push_back(std::move(op));
  }

  // The slice of `targets` that lies as `shard` does; it is made where it is first needed.
  ValueId SliceLike(ValueId shard, ValueId targets) {
    const Placements placements = program_.value(shard).placements;
    for (ValueId slice : slices_[targets]) {
      if (program_.value(slice).placements == placements) return slice;
    }
    Value value = program_.value(targets);
    value.name = program_.FreeName(value.name + ".shard");
    value.placements = placements;
    Op op;
    op.def = &kRedistribute;
    op.phase = Phase::kForward;
    op.inputs = {targets};
    op.outputs = {program_.AddValue(std::move(value))};
    slices_[targets].push_back(op.outputs[0]);
    ops_.push_back(op);
    return op.outputs[0];
  }

  Program& program_;
  std::vector<Op> ops_;
  std::map<ValueId, std::vector<ValueId>> slices_;  // by targets
  std::vector<bool> computed_;                      // shards of gradients that were slices
};

// Gradients are synchronised while the backward pass still runs.
int Stage(Phase phase) { return phase == Phase::kForward ? 0 : phase == Phase::kOptimizer ? 2 : 1; }

bool Communicates(const Program& program, const Op& op, const Mesh& mesh) {
  if (!op.Is(kRedistribute)) return false;
  const Placements from = program.value(op.inputs[0]).placements;
  const Placements to = program.value(op.outputs[0]).placements;
  return std::ranges::any_of(from.entries(), [&](const auto& entry) {
    return mesh.Size(entry.axis) > 1 && entry.placement != to[entry.axis];
  });
}

// Forward, backward, optimizer; within each the most urgent first, products before the rest, then
// program order.
std::vector<Op> InOrderOfUrgency(const Program& program, const std::vector<int64_t>& urgency) {
  const std::vector<Op>& ops = program.ops();
  const std::vector<std::vector<int>> behind = OpsBehind(program);
  std::vector<int> awaited(ops.size());
  for (const std::vector<int>& others : behind) {
    for (int op : others) ++awaited[op];
  }
  using Key = std::tuple<int, int64_t, bool, int>;
  std::priority_queue<Key, std::vector<Key>, std::greater<>> ready;
  const auto make_ready = [&](int op) {
    ready.emplace(Stage(ops[op].phase), -urgency[op], !ops[op].Is(kMatMul), op);
  };
  for (size_t i = 0; i < ops.size(); ++i) {
    if (awaited[i] == 0) make_ready(static_cast<int>(i));
  }
  std::vector<Op> ordered;
  while (!ready.empty()) {
    const int op = std::get<3>(ready.top());
    ready.pop();
    ordered.push_back(ops[op]);
    for (int other : behind[op]) {
      if (--awaited[other] == 0) make_ready(other);
    }
  }
  CHECK_EQ(ordered.size(), ops.size()) << "the program has a cycle";
  return ordered;
}

}  // namespace

void ComputeLossOnShards(Program& program) {
  if (program.sum_order() == SumOrder::kFast) LossOnShards(program).Run();
}

void FuseLossAndGradient(Program& program) {
  std::vector<Op> ops = program.ops();
  std::vector<bool> fused(ops.size());
  for (size_t i = 0; i < ops.size(); ++i) {
    if (!ops[i].Is(kMseLoss)) continue;
    const std::vector<int>& readers = program.ReadersOf(ops[i].inputs[0]);
    const auto gradient = std::find_if(readers.begin(), readers.end(), [&](int j) {
      return static_cast<size_t>(j) > i && !fused[j] && ops[j].Is(kMseGrad) &&
             ops[j].inputs == ops[i].inputs && ops[j].attributes == ops[i].attributes;
    });
    if (gradient == readers.end()) continue;
    ops[i].def = &kMseLossGrad;
    ops[i].outputs.push_back(ops[*gradient].outputs[0]);
    fused[*gradient] = true;
  }
  size_t next = 0;
  std::erase_if(ops, [&](const Op&) { return fused[next++]; });
  program.ReplaceOps(std::move(ops));
}

void FuseLogitsGradient(Program& program) {
  std::vector<Op> ops = program.ops();
  std::vector<bool> fused(ops.size());
  int last_update = -1;  // what was written before it must not be read behind it
  const auto only_read = [&](ValueId id, const OpDef& def) -> std::optional<size_t> {
    const int writer = program.DefinitionOf(id);
    if (!ops[writer].Is(def) || program.UsesOf(id) != 1 || writer < last_update) {
      return std::nullopt;
    }
    return static_cast<size_t>(writer);
  };
  for (size_t i = 0; i < ops.size(); ++i) {
    Op& op = ops[i];
    if (op.def->updates > 0) last_update = static_cast<int>(i);
    if (!op.Is(kAdd)) continue;
    for (const auto& [a, b] : {std::pair(0, 1), std::pair(1, 0)}) {
      const auto sum = only_read(op.inputs[a], kExpSumGrad);
      const auto pick = only_read(op.inputs[b], kPickGrad);
      if (!sum || !pick || ops[*sum].inputs[0] != ops[*pick].inputs[0]) continue;
      const std::vector<ValueId> of_sum = ops[*sum].inputs, of_pick = ops[*pick].inputs;
      op.def = &kLogitsGrad;
      op.inputs = {of_sum[0], of_pick[1], of_sum[1], of_sum[2], of_pick[2]};
      fused[*sum] = fused[*pick] = true;
      break;
    }
  }
  size_t next = 0;
  std::erase_if(ops, [&](const Op&) { return fused[next++]; });
  program.ReplaceOps(std::move(ops));
}

void DropDeadOps(Program& program) {
  std::vector<bool> live(program.values().size());
  for (ValueId id : program.results()) live[id] = true;
  std::vector<Op> kept;
  for (auto op = program.ops().rbegin(); op != program.ops().rend(); ++op) {
    const bool alive =
        op->IsSource() || op->def->updates > 0 ||
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
  // urgency[i]: elements that redistributes right behind op i move (an op's own, for a
  // redistribute). Only direct consumers count: what is further away has its own producers.
  std::vector<int64_t> urgency(n);
  for (size_t i = 0; i < n; ++i) {
    if (!Communicates(program, ops[i], mesh)) continue;
    const int64_t moved = NumElements(program.value(ops[i].inputs[0]).shape);
    urgency[i] = std::max(urgency[i], moved);
    const int producer = program.DefinitionOf(ops[i].inputs[0]);
    urgency[producer] = std::max(urgency[producer], moved);
  }
  if (std::all_of(urgency.begin(), urgency.end(), [](int64_t u) { return u == 0; })) return;
  program.ReplaceOps(InOrderOfUrgency(program, urgency));
}

void SyncGradientsEarly(Program& program) {
  const std::vector<Op>& ops = program.ops();
  std::vector<std::vector<int>> behind(ops.size());  // by op
  std::vector<bool> moves(ops.size());
  for (size_t i = 0; i < ops.size(); ++i) {
    if (!ops[i].Is(kRedistribute) || ops[i].phase != Phase::kGradientSync) continue;
    moves[i] = true;
    behind[program.DefinitionOf(ops[i].inputs[0])].push_back(static_cast<int>(i));
  }
  std::vector<Op> ordered;
  const std::function<void(int)> append = [&](int i) {
    ordered.push_back(ops[i]);
    for (int next : behind[i]) append(next);
  };
  for (size_t i = 0; i < ops.size(); ++i) {
    if (!moves[i]) append(static_cast<int>(i));
  }
  program.ReplaceOps(std::move(ordered));
}

void Optimize(Program& program, const Mesh& mesh) {
  ComputeLossOnShards(program);
  FuseLossAndGradient(program);
  FuseLogitsGradient(program);
  FuseBias(program);
  FuseSum(program);
  DropDeadOps(program);
  StartCommunicationEarly(program, mesh);
}

}  // namespace tp
