#include "tp/schedule/layout.h"

#include <algorithm>
#include <functional>
#include <string>

#include "tp/program/typing.h"

namespace tp {
namespace {

class LayoutChoice {
 public:
  LayoutChoice(const Program& program, const Mesh& mesh)
      : program_(program), mesh_(mesh), chosen_(program.values().size()) {
    layout_.orders.resize(program.values().size(), Order::kRowsOutermost);
    layout_.whole_of.resize(program.values().size(), -1);
  }

  Layout Run() {
    for (const Op& op : program_.ops()) {
      if (op.Is(kRedistribute)) ChooseEnds(op);
    }
    SpreadOrders();
    return std::move(layout_);
  }

 private:
  // Stores both ends of a gather or scatter with its dimension outermost. Where two redistributes
  // of one value disagree, the first one wins and the other one copies.
  void ChooseEnds(const Op& op) {
    const std::optional<Axis> axis = ActiveAxis(program_, mesh_, op);
    if (!axis) return;
    const ValueId in = op.inputs[0];
    const ValueId out = op.outputs[0];
    const Placement from = program_.value(in).placements[*axis];
    const Placement to = program_.value(out).placements[*axis];
    const bool gather = IsShard(from) && IsReplicate(to);
    const bool scatter = IsPartial(from) && IsShard(to);
    if (!gather && !scatter) return;
    const Order order = Outermost(gather ? from.dim : to.dim, program_.value(in).shape.size());
    for (ValueId id : {in, out}) {
      if (!chosen_[id]) layout_.orders[id] = order;
      chosen_[id] = true;
    }
    const bool both_in_order = layout_.orders[in] == order && layout_.orders[out] == order;
    if (gather && both_in_order && layout_.whole_of[in] < 0 && OwnsMemory(in)) {
      layout_.whole_of[in] = out;
    }
  }

  // Whether the op that writes `id` chooses where: redistributes and updates hand on what they
  // read.
  bool OwnsMemory(ValueId id) const {
    const Op& op = program_.ops()[program_.DefinitionOf(id)];
    return !op.Is(kRedistribute) && op.def->updates < 0;
  }

  // Whether `op` goes element by element, or hands on memory.
  bool KeepsOrder(const Op& op) const {
    if (op.IsSource() || op.def->updates >= 0) return false;
    if (!op.Is(kRedistribute)) return GoesByElement(op);
    const std::optional<Axis> axis = ActiveAxis(program_, mesh_, op);
    if (!axis) return true;
    const Placement from = program_.value(op.inputs[0]).placements[*axis];
    const Placement to = program_.value(op.outputs[0]).placements[*axis];
    return IsReplicate(from) || (IsPartial(from) && IsReplicate(to));
  }

  // Whether all matrices of `op` have the same letters in the same order.
  bool GoesByElement(const Op& op) const {
    const Letters letters = LettersOf(program_, op).value();
    std::vector<std::string> matrices = letters.operands();
    matrices.insert(matrices.end(), letters.outputs().begin(), letters.outputs().end());
    std::erase_if(matrices, [](const std::string& dims) { return dims.size() < 2; });
    return std::adjacent_find(matrices.begin(), matrices.end(), std::not_equal_to<>()) ==
           matrices.end();
  }

  // Lets what keeps the order keep the order of what was chosen: such an op then runs through all
  // its operands in one direction.
  void SpreadOrders() {
    for (bool changed = true; changed;) {
      changed = false;
      for (const Op& op : program_.ops()) {
        if (KeepsOrder(op) && SpreadOver(op)) changed = true;
      }
    }
  }

  bool SpreadOver(const Op& op) {
    std::vector<ValueId> matrices = op.inputs;
    matrices.insert(matrices.end(), op.outputs.begin(), op.outputs.end());
    std::erase_if(matrices, [&](ValueId id) { return program_.value(id).shape.size() != 2; });
    const auto known =
        std::find_if(matrices.begin(), matrices.end(), [&](ValueId id) { return chosen_[id]; });
    if (known == matrices.end()) return false;
    bool changed = false;
    for (ValueId id : matrices) {
      if (chosen_[id]) continue;
      layout_.orders[id] = layout_.orders[*known];
      chosen_[id] = changed = true;
    }
    return changed;
  }

  const Program& program_;
  const Mesh& mesh_;
  Layout layout_;
  std::vector<bool> chosen_;
};

}  // namespace

Layout ChooseLayout(const Program& program, const Mesh& mesh) {
  return LayoutChoice(program, mesh).Run();
}

std::optional<Axis> ActiveAxis(const Program& program, const Mesh& mesh, const Op& op) {
  for (Axis axis : kAllAxes) {
    if (mesh.Size(axis) > 1 && program.value(op.inputs[0]).placements[axis] !=
                                   program.value(op.outputs[0]).placements[axis]) {
      return axis;
    }
  }
  return std::nullopt;
}

}  // namespace tp
