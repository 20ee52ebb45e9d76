#include <algorithm>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tp/ops/all.h"
#include "tp/passes/passes.h"

namespace tp {
namespace {

// Moves what is added to a product, or a bias added to the sum of a partial one, into the product.
class IntoProduct {
 public:
  explicit IntoProduct(Program& program)
      : program_(program), moved_to_(program.ops().size()), updates_before_(1) {
    for (const Op& op : program.ops()) {
      updates_before_.push_back(updates_before_.back() + (op.def->updates > 0 ? 1 : 0));
    }
    moved_.resize(program.ops().size());
  }

  void MoveBiases() {
    for (size_t i = 0; i < program_.ops().size(); ++i) {
      if (program_.ops()[i].Is(kAddBias)) MoveBias(i);
    }
    Finish();
  }

  void MoveTensors() {
    for (size_t i = 0; i < program_.ops().size(); ++i) {
      if (program_.ops()[i].Is(kAdd)) MoveTensor(i);
    }
    Finish();
  }

 private:
  void Finish() {
    const std::vector<Op>& ops = program_.ops();
    std::vector<Op> result;
    for (size_t i = 0; i < ops.size(); ++i) {
      if (!moved_to_[i].empty()) {
        std::move(moved_to_[i].begin(), moved_to_[i].end(), std::back_inserter(result));
      } else if (!moved_[i]) {
        result.push_back(ops[i]);
      }
    }
    program_.ReplaceOps(std::move(result));
  }

  // The op that writes `id`, which only op `reader` reads, where no update comes between the two:
  // what it reads is then still there at the reader's place.
  std::optional<size_t> OnlyRead(ValueId id, size_t reader) const {
    if (program_.UsesOf(id) != 1) return std::nullopt;
    const auto writer = static_cast<size_t>(program_.DefinitionOf(id));
    if (updates_before_[writer] != updates_before_[reader]) return std::nullopt;
    return writer;
  }

  static bool IsBareProduct(const Op& op) { return op.Is(kMatMul) && op.inputs.size() == 2; }

  // "mk,kn -> mn" becomes "mk,kn + n -> mn", or "mk,kn + mn -> mn".
  static void AddOperand(Op& product, ValueId added, size_t rank) {
    std::string letters = product.attributes.Text("letters");
    const std::string added_letters = letters.substr(letters.size() - rank);
    letters.insert(letters.find("->"), "+ " + added_letters + " ");
    product.attributes.Set("letters", std::move(letters));
    product.inputs.push_back(added);
  }

  void MoveBias(size_t add) {
    const std::vector<Op>& ops = program_.ops();
    const std::optional<size_t> writer = OnlyRead(ops[add].inputs[0], add);
    if (!writer) return;
    if (!IsBareProduct(ops[*writer])) return MoveBehindSum(*writer, add);
    MoveInto(*writer, add, ops[add].inputs[1]);
  }

  // Of two products the later one takes the sum in: it waits least.
  void MoveTensor(size_t add) {
    const std::vector<Op>& ops = program_.ops();
    if (program_.value(ops[add].outputs[0]).shape.empty()) return;
    std::optional<size_t> product;
    ValueId other = -1;
    for (int i : {0, 1}) {
      const std::optional<size_t> writer = OnlyRead(ops[add].inputs[i], add);
      if (!writer || !IsBareProduct(ops[*writer]) || ops[*writer].phase != ops[add].phase) continue;
      if (product && *writer < *product) continue;
      product = writer;
      other = ops[add].inputs[1 - i];
    }
    if (product) MoveInto(*product, add, other);
  }

  void MoveInto(size_t writer, size_t add, ValueId added) {
    const std::vector<Op>& ops = program_.ops();
    Op product = ops[writer];
    AddOperand(product, added, program_.value(added).shape.size());
    product.outputs = ops[add].outputs;
    moved_[writer] = true;
    moved_to_[add] = {std::move(product)};
  }

  // One rank adds the bias to its part of the sum.
  void MoveBehindSum(size_t sum, size_t add) {
    const std::vector<Op>& ops = program_.ops();
    if (!ops[sum].Is(kRedistribute)) return;
    const Placements from = program_.value(ops[sum].inputs[0]).placements;
    const Placements to = program_.value(ops[sum].outputs[0]).placements;
    const std::optional<size_t> product = OnlyRead(ops[sum].inputs[0], sum);
    if (!product || !IsBareProduct(ops[*product])) return;
    Value bias = program_.value(ops[add].inputs[1]);
    bias.name = program_.FreeName(bias.name + ".once");
    for (const Placements* either : {&from, &to}) {
      for (const auto& [axis, placement] : either->entries()) {
        if (from[axis] == to[axis]) continue;
        if (!IsPartial(from[axis]) || !IsReplicate(to[axis])) return;
        bias.placements.Set(axis, Partial());
      }
    }
    Op once;
    once.def = &kRedistribute;
    once.phase = ops[*product].phase;
    once.inputs = {ops[add].inputs[1]};
    once.outputs = {program_.AddValue(std::move(bias))};
    Op with_bias = ops[*product];
    AddOperand(with_bias, once.outputs[0], 1);
    Op whole = ops[sum];
    whole.outputs = ops[add].outputs;
    moved_[sum] = moved_[*product] = true;
    // In the addition's place, where its bias is known to be written.
    moved_to_[add] = {std::move(once), std::move(with_bias), std::move(whole)};
  }

  Program& program_;
  // By op: what takes its place, and whether it is left out.
  std::vector<std::vector<Op>> moved_to_;
  std::vector<bool> moved_;
  std::vector<int> updates_before_;  // by op: updates among those before it
};

}  // namespace

void FuseBias(Program& program) {
  if (program.sum_order() == SumOrder::kFast) IntoProduct(program).MoveBiases();
}

void FuseSum(Program& program) {
  if (program.sum_order() == SumOrder::kFast) IntoProduct(program).MoveTensors();
}

}  // namespace tp
