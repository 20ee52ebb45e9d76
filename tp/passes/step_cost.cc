#include "tp/passes/step_cost.h"

#include <glog/logging.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <string>

#include "tp/ops/all.h"
#include "tp/program/typing.h"

namespace tp {
namespace {

// Of the rank that has most.
Shape LocalShape(const Value& value, const Mesh& mesh) {
  Shape shape = value.shape;
  for (const auto& [axis, placement] : value.placements.entries()) {
    if (!IsShard(placement)) continue;
    const int64_t parts = mesh.Size(axis);
    shape[placement.dim] = (shape[placement.dim] + parts - 1) / parts;
  }
  return shape;
}

double Elements(const Value& value, const Mesh& mesh) {
  return static_cast<double>(NumElements(LocalShape(value, mesh)));
}

double Bytes(const Value& value, const Mesh& mesh) {
  return Elements(value, mesh) * static_cast<double>(SizeOf(value.dtype));
}

// The axes on which a redistribute changes anything, beyond what one rank has to itself.
std::vector<Axis> Changed(const Program& program, const Op& op, const Mesh& mesh) {
  const Placements& from = program.value(op.inputs[0]).placements;
  const Placements& to = program.value(op.outputs[0]).placements;
  std::vector<Axis> changed;
  for (const Axis& axis : mesh.axes()) {
    if (mesh.Size(axis) > 1 && from[axis] != to[axis]) changed.push_back(axis);
  }
  return changed;
}

class CostModel {
 public:
  CostModel(const Program& program, const Mesh& mesh, const MachineRates& rates)
      : program_(program), mesh_(mesh), rates_(rates) {
    CHECK(rates.flops_per_second > 0 && rates.memory_bytes_per_second > 0);
    CHECK(rates.within.bytes_per_second > 0 && rates.between.bytes_per_second > 0);
    CHECK_GT(rates.ranks_per_node, 0);
  }

  OpCost Of(const Op& op) const {
    if (op.IsSource()) return {};
    return op.Is(kRedistribute) ? OfRedistribute(op) : OfCompute(op);
  }

 private:
  // Two axes are two collectives, one after the other; the first one's stream counts.
  OpCost OfRedistribute(const Op& op) const {
    const Value& in = program_.value(op.inputs[0]);
    const Value& out = program_.value(op.outputs[0]);
    OpCost cost;
    for (const Axis& axis : Changed(program_, op, mesh_)) {
      if (IsReplicate(in.placements[axis])) {
        // A view, or zeros on all ranks but one.
        if (!IsPartial(out.placements[axis])) continue;
        cost.stream = std::max(cost.stream, 0);
        cost.seconds += rates_.launch_seconds + MemorySeconds(Bytes(out, mesh_));
        continue;
      }
      if (cost.stream <= 0) cost.stream = 1 + mesh_.PlaceOf(axis);
      cost.seconds += rates_.launch_seconds + CollectiveSeconds(op, axis);
    }
    return cost;
  }

  // The whole array of a group along `axis`, in bytes, is what lies on a rank before a sum and
  // after a gather.
  double CollectiveSeconds(const Op& op, const Axis& axis) const {
    const Value& in = program_.value(op.inputs[0]);
    const Value& out = program_.value(op.outputs[0]);
    const double ranks = mesh_.Size(axis);
    const double others = (ranks - 1) / ranks;
    const bool tree = program_.IsSumTree(op.inputs[0]);  // whose nodes are of the wider type
    const double size = static_cast<double>(SizeOf(tree ? AccumulatorOf(in.dtype) : in.dtype));
    const double before = Elements(in, mesh_) * size, after = Elements(out, mesh_) * size;
    const LinkRates& link = LinkOf(axis);
    const Placement from = in.placements[axis], to = out.placements[axis];
    double sent = 0;
    int rounds = 1;
    if (IsPartial(from)) {
      rounds = IsReplicate(to) ? 2 : 1;
      sent = rounds * others * before;
    } else {
      sent = others * (IsReplicate(to) ? after : before);
    }
    return rounds * link.latency_seconds + sent / link.bytes_per_second;
  }

  const LinkRates& LinkOf(const Axis& axis) const {
    for (int rank = 0; rank < mesh_.world(); ++rank) {
      const std::vector<int> group = mesh_.Group(rank, axis);
      const auto [least, most] = std::minmax_element(group.begin(), group.end());
      if (*least / rates_.ranks_per_node != *most / rates_.ranks_per_node) return rates_.between;
      if (mesh_.world() <= rates_.ranks_per_node) break;
    }
    return rates_.within;
  }

  OpCost OfCompute(const Op& op) const {
    const Letters letters = LettersOf(program_, op).value();
    const std::vector<std::string> operands = letters.operands();
    std::map<char, double> sizes;  // of a rank's part of each letter
    for (size_t i = 0; i < operands.size(); ++i) {
      const Shape shape = LocalShape(program_.value(op.inputs[i]), mesh_);
      for (size_t d = 0; d < operands[i].size(); ++d) {
        const auto size = static_cast<double>(shape[d]);
        const auto [known, is_new] = sizes.try_emplace(operands[i][d], size);
        if (!is_new) known->second = std::min(known->second, size);
      }
    }
    double points = 1;
    for (const auto& [letter, size] : sizes) points *= letter == op.def->ids_of ? 1 : size;
    const auto factors = static_cast<double>(std::max<size_t>(operands.size(), 2) - 1);
    const double flops = 2 * points * (op.Is(kMatMul) ? 1 : factors);
    return {.stream = 0,
            .seconds = rates_.launch_seconds + std::max(flops / rates_.flops_per_second,
                                                        MemorySeconds(Touched(op, points)))};
  }

  // Of a table only the rows that are asked for.
  double Touched(const Op& op, double points) const {
    double bytes = 0;
    for (const std::vector<ValueId>* ids : {&op.inputs, &op.outputs}) {
      for (ValueId id : *ids) {
        const Value& value = program_.value(id);
        const double all = Bytes(value, mesh_);
        const bool table = op.def->ids_of != 0 && ids == &op.inputs;
        const double asked = points * static_cast<double>(SizeOf(value.dtype));
        bytes += table ? std::min(all, asked) : all;
      }
    }
    return bytes;
  }

  double MemorySeconds(double bytes) const { return bytes / rates_.memory_bytes_per_second; }

  const Program& program_;
  const Mesh& mesh_;
  const MachineRates& rates_;
};

// Whose memory each value has, by value: its own, or that of what it was made of.
std::vector<ValueId> Holders(const Program& program, const Mesh& mesh) {
  std::vector<ValueId> holders(program.values().size());
  std::iota(holders.begin(), holders.end(), 0);
  for (const Op& op : program.ops()) {
    for (int i = 0; i < op.def->updates; ++i) holders[op.outputs[i]] = holders[op.inputs[i]];
    if (!op.Is(kRedistribute)) continue;
    const Value& in = program.value(op.inputs[0]);
    const Value& out = program.value(op.outputs[0]);
    // A view of the whole, or a sum in the place of the part that nobody else reads.
    const bool alone = program.UsesOf(op.inputs[0]) == 1;
    bool shares = true;
    for (const Axis& axis : Changed(program, op, mesh)) {
      const bool view = IsReplicate(in.placements[axis]) && IsShard(out.placements[axis]);
      const bool in_place =
          alone && IsPartial(in.placements[axis]) && !program.IsSumTree(op.inputs[0]);
      shares = shares && (view || in_place);
    }
    if (shares) holders[op.outputs[0]] = holders[op.inputs[0]];
  }
  return holders;
}

}  // namespace

std::vector<OpCost> CostsOf(const Program& program, const Mesh& mesh, const MachineRates& rates) {
  const CostModel model(program, mesh, rates);
  std::vector<OpCost> costs;
  for (const Op& op : program.ops()) costs.push_back(model.Of(op));
  return costs;
}

int64_t BytesHeld(const Program& program, const Mesh& mesh, const std::vector<int>& order) {
  const std::vector<ValueId> holders = Holders(program, mesh);
  const size_t n = program.values().size();
  std::vector<int> reads_left(n);
  for (const Op& op : program.ops()) {
    for (ValueId id : op.inputs) ++reads_left[holders[id]];
  }
  std::vector<bool> for_ever(n), held(n);
  for (const Op& op : program.ops()) {
    if (op.IsSource()) for_ever[holders[op.outputs[0]]] = true;
  }
  for (ValueId id : program.results()) for_ever[holders[id]] = true;
  const auto bytes = [&](ValueId id) {
    return static_cast<int64_t>(Bytes(program.value(id), mesh));
  };
  int64_t now = 0, most = 0;
  for (size_t id = 0; id < n; ++id) {
    if (for_ever[id]) now += bytes(static_cast<ValueId>(id));
  }
  for (int i : order) {
    const Op& op = program.ops()[i];
    for (ValueId id : op.outputs) {
      const ValueId holder = holders[id];
      if (for_ever[holder] || held[holder]) continue;
      held[holder] = true;
      now += bytes(holder);
    }
    most = std::max(most, now);
    const auto let_go = [&](ValueId holder) {
      if (reads_left[holder] > 0 || !held[holder]) return;
      held[holder] = false;
      now -= bytes(holder);
    };
    for (ValueId id : op.inputs) {
      --reads_left[holders[id]];
      let_go(holders[id]);
    }
    for (ValueId id : op.outputs) let_go(holders[id]);
  }
  return most;
}

}  // namespace tp
