#include "tp/autodiff/gradient.h"

#include "tp/ops/ops.h"

namespace tp {

std::string GradientName(const Program& program, ValueId id) {
  return "d" + program.value(id).name;
}

StatusOr<ValueId> RedistributeGradient(Program& program, ValueId id, ValueId gradient, Axis axis,
                                       Placement to, Phase phase) {
  const std::string name = GradientName(program, id);
  const Placement from = program.value(gradient).placements[axis];
  if (from == to) return gradient;
  if (program.value(gradient).name == name) {
    const char* what = IsPartial(from) ? ".partial" : IsShard(from) ? ".shard" : ".whole";
    program.Rename(gradient, program.FreeName(name + what));
  }
  return AddRedistribute(program, phase, program.FreeName(name), gradient, axis, to);
}

StatusOr<ValueId> BringGradientTo(Program& program, ValueId id, ValueId gradient,
                                  const Placements& to, Phase phase) {
  const Placements from = program.value(gradient).placements;
  const auto steps = StepsBetween(from, to);
  if (!steps) {
    return InvalidArgument("the gradient of '" + program.value(id).name + "' lies as " +
                           ToString(from) + ", which no redistributes bring to " + ToString(to));
  }
  for (const Axis& axis : *steps) {
    TP_ASSIGN_OR_RETURN(gradient,
                        RedistributeGradient(program, id, gradient, axis, to[axis], phase));
  }
  return gradient;
}

}  // namespace tp
