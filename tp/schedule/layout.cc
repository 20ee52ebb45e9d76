#include "tp/schedule/layout.h"

#include <algorithm>
#include <functional>
#include <queue>
#include <string>
#include <utility>

#include "tp/program/typing.h"

namespace tp {
namespace {

class LayoutChoice {
 public:
  LayoutChoice(const Program& program, const Mesh& mesh)
      : program_(program), mesh_(mesh), chosen_(program.values().size()) {
    for (const Value& value : program.values()) {
      layout_.orders.push_back(Order::Own(value.shape.size()));
    }
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
    const Order order =
        Order::Outermost(gather ? from.dim : to.dim, program_.value(in).shape.size());
    for (ValueId id : {in, out}) {
      if (!chosen_[id]) layout_.orders[id] = order;
      chosen_[id] = true;
    }
    const bool both_in_order = layout_.orders[in] == order && layout_.orders[out] == order;
    if (gather && both_in_order && layout_.whole_of[in] < 0 && OwnsMemory(in) &&
        !(IsParameter(in) && IsRead(out))) {
      layout_.whole_of[in] = out;
    }
  }

  // Whether the op that writes `id` chooses where: redistributes and updates hand on what they
  // read.
  bool OwnsMemory(ValueId id) const {
    const Op& op = program_.ops()[program_.DefinitionOf(id)];
    return !op.Is(kRedistribute) && op.def->updates == 0;
  }

  bool IsParameter(ValueId id) const {
    return program_.ops()[program_.DefinitionOf(id)].Is(kParameter);
  }

  // Whether a result shows the memory of `whole`: after a step it must stay as it is, and a
  // parameter is written between steps.
  bool IsRead(ValueId whole) const {
    const std::vector<ValueId> sharers = program_.SharersOf(whole);
    return std::any_of(sharers.begin(), sharers.end(),
                       [&](ValueId id) { return program_.IsResult(id); });
  }

  // Whether `op` goes element by element, or hands on memory.
  bool KeepsOrder(const Op& op) const {
    if (op.IsSource() || op.def->updates > 0) return false;
    if (!op.Is(kRedistribute)) return GoesByElement(op);
    const std::optional<Axis> axis = ActiveAxis(program_, mesh_, op);
    if (!axis) return true;
    const Placement from = program_.value(op.inputs[0]).placements[*axis];
    const Placement to = program_.value(op.outputs[0]).placements[*axis];
    return IsReplicate(from) || (IsPartial(from) && IsReplicate(to));
  }

  // Whether `op` computes what it writes from what it reads, letter by letter.
  static bool KeepsOutermost(const Op& op) {
    return !op.IsSource() && op.def->updates == 0 && !op.Is(kRedistribute);
  }

  // Whether all tensors of `op` of more than one dimension have the same letters in the same order.
  bool GoesByElement(const Op& op) const {
    const Letters letters = LettersOf(program_, op).value();
    std::vector<std::string> tensors = letters.operands();
    tensors.insert(tensors.end(), letters.outputs().begin(), letters.outputs().end());
    std::erase_if(tensors, [](const std::string& dims) { return dims.size() < 2; });
    return std::adjacent_find(tensors.begin(), tensors.end(), std::not_equal_to<>()) ==
           tensors.end();
  }

  // Lets what keeps the order keep the order of what was chosen: such an op then runs through all
  // its operands in one direction. Other ops hand on what is outermost, where a tensor has more
  // than two dimensions: those that a product sums over, or that stay, then lie alike in all its
  // tensors and are one dimension to it (of a matrix both orders are a product's own). As if going
  // through all ops again and again until nothing changes, but an op is looked at again only where
  // a matrix of it was chosen meanwhile.
  void SpreadOrders() {
    const std::vector<std::vector<int>> users = UsersOfTensors();
    using Visit = std::pair<int, int>;  // which time through, op
    std::priority_queue<Visit, std::vector<Visit>, std::greater<>> visits;
    for (size_t id = 0; id < users.size(); ++id) {
      if (!chosen_[id]) continue;
      for (int op : users[id]) visits.emplace(0, op);
    }
    while (!visits.empty()) {
      const auto [time, op] = visits.top();
      visits.pop();
      for (ValueId id : SpreadOver(program_.ops()[op])) {
        for (int user : users[id]) {
          if (user != op) visits.emplace(user > op ? time : time + 1, user);
        }
      }
    }
  }

  // By value: the ops that keep its order.
  std::vector<std::vector<int>> UsersOfTensors() const {
    std::vector<std::vector<int>> users(program_.values().size());
    for (size_t i = 0; i < program_.ops().size(); ++i) {
      const Op& op = program_.ops()[i];
      if (!KeepsOrder(op) && !KeepsOutermost(op)) continue;
      for (ValueId id : TensorsOf(op)) users[id].push_back(static_cast<int>(i));
    }
    return users;
  }

  std::vector<ValueId> TensorsOf(const Op& op) const {
    std::vector<ValueId> tensors = op.inputs;
    tensors.insert(tensors.end(), op.outputs.begin(), op.outputs.end());
    std::erase_if(tensors, [&](ValueId id) { return program_.value(id).shape.size() < 2; });
    return tensors;
  }

  // Returns what was chosen now.
  std::vector<ValueId> SpreadOver(const Op& op) {
    const std::vector<ValueId> tensors = TensorsOf(op);
    const auto known =
        std::find_if(tensors.begin(), tensors.end(), [&](ValueId id) { return chosen_[id]; });
    if (known == tensors.end()) return {};
    if (!KeepsOrder(op)) return SpreadOutermost(op, *known);
    std::vector<ValueId> changed;
    for (ValueId id : tensors) {
      if (Choose(id, layout_.orders[*known])) changed.push_back(id);
    }
    return changed;
  }

  // To the tensors of `op` that have the letter which `known` has outermost.
  std::vector<ValueId> SpreadOutermost(const Op& op, ValueId known) {
    const Letters letters = LettersOf(program_, op).value();
    std::vector<std::string> dims = letters.operands();
    dims.insert(dims.end(), letters.outputs().begin(), letters.outputs().end());
    std::vector<ValueId> tensors = op.inputs;
    tensors.insert(tensors.end(), op.outputs.begin(), op.outputs.end());
    const size_t of_known = std::find(tensors.begin(), tensors.end(), known) - tensors.begin();
    const char outermost = dims[of_known][layout_.orders[known][0]];
    std::vector<ValueId> changed;
    for (size_t i = 0; i < tensors.size(); ++i) {
      const size_t at = dims[i].find(outermost);
      if (at == std::string::npos || dims[i].size() < 3 || IsSource(tensors[i])) continue;
      const Order order = Order::Outermost(static_cast<int>(at), dims[i].size());
      if (Choose(tensors[i], order)) changed.push_back(tensors[i]);
    }
    return changed;
  }

  bool IsSource(ValueId id) const { return program_.ops()[program_.DefinitionOf(id)].IsSource(); }

  // Whether it was not chosen before.
  bool Choose(ValueId id, const Order& order) {
    if (chosen_[id]) return false;
    layout_.orders[id] = order;
    return chosen_[id] = true;
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
  for (const Axis& axis : mesh.axes()) {
    if (mesh.Size(axis) > 1 && program.value(op.inputs[0]).placements[axis] !=
                                   program.value(op.outputs[0]).placements[axis]) {
      return axis;
    }
  }
  return std::nullopt;
}

}  // namespace tp
