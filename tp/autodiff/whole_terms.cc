#include "tp/autodiff/whole_terms.h"

#include <algorithm>
#include <set>
#include <string>

#include "tp/ops/ops.h"
#include "tp/program/typing.h"

namespace tp {
namespace {

// Those on which one of the values is not Replicate.
std::vector<Axis> AxesOf(const Program& program, const std::vector<ValueId>& ids) {
  std::set<Axis> axes;
  for (ValueId id : ids) {
    for (const auto& entry : program.value(id).placements.entries()) axes.insert(entry.axis);
  }
  return {axes.begin(), axes.end()};
}

}  // namespace

StatusOr<std::vector<ValueId>> WholeTerms::Of(const OpDef& def, std::vector<ValueId> inputs,
                                              const Attributes& attributes) {
  if (program_.sum_order() != SumOrder::kInvariant) return inputs;
  const Op op{.def = &def, .inputs = inputs, .attributes = attributes};
  TP_ASSIGN_OR_RETURN(const Letters letters, LettersOf(program_, op));
  const std::vector<std::string> operands = letters.operands();
  const std::string summed = letters.summed();
  const char tree = def.blocked.name.empty() || summed.empty() ? 0 : summed[0];
  // Of axes that cut one dimension, the innermost first.
  std::vector<Axis> axes = AxesOf(program_, inputs);
  for (size_t turn = 0; turn < axes.size() * axes.size(); ++turn) {
    const Axis axis = axes[turn % axes.size()];
    for (size_t i = 0; i < inputs.size(); ++i) {
      const Placement placement = program_.value(inputs[i]).placements[axis];
      if (!IsShard(placement) || !program_.value(inputs[i]).placements.IsInnermost(axis)) {
        continue;
      }
      const char letter = operands[i].at(placement.dim);
      const bool kept = std::all_of(
          letters.outputs().begin(), letters.outputs().end(),
          [&](const std::string& dims) { return dims.find(letter) != std::string::npos; });
      if (kept || letter == tree) continue;
      TP_ASSIGN_OR_RETURN(inputs[i], Whole(inputs[i], axis));
    }
  }
  return inputs;
}

StatusOr<ValueId> WholeTerms::Whole(ValueId id, Axis axis) {
  const auto [known, made] = whole_.try_emplace({id, axis}, id);
  if (!made) return known->second;
  const std::string name = program_.FreeName(program_.value(id).name + ".whole");
  TP_ASSIGN_OR_RETURN(known->second,
                      AddRedistribute(program_, Phase::kBackward, name, id, axis, Replicate()));
  return known->second;
}

}  // namespace tp
