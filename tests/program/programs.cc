#include "tests/program/programs.h"

#include "tp/ops/ops.h"

namespace tp {

std::vector<Placement> AllPlacements() { return {Replicate(), Shard(0), Shard(1), Partial()}; }

Placements On(Axis axis, Placement on_axis) {
  Placements placements;
  placements.Set(axis, on_axis);
  return placements;
}

ValueId Input(Program& program, const std::string& name, Shape shape, Placements placements,
              DType dtype) {
  return AddInput(program, Value{name, std::move(shape), dtype, placements}).value();
}

ValueId Parameter(Program& program, const std::string& name, Shape shape, Placements placements,
                  DType dtype) {
  return AddParameter(program, Value{name, std::move(shape), dtype, placements}).value();
}

std::vector<std::string> Redistributes(const Program& program) {
  std::vector<std::string> lines;
  for (const Op& op : program.ops()) {
    if (!op.Is(kRedistribute)) continue;
    const Value& in = program.value(op.inputs[0]);
    const Value& out = program.value(op.outputs[0]);
    std::string line = std::string(Name(op.phase)) + " " + out.name + ":";
    for (Axis axis : kDefaultAxes) {
      if (in.placements[axis] == out.placements[axis]) continue;
      line.append(" ").append(Name(axis)).append(" ").append(ToString(in.placements[axis]));
      line.append(" -> ").append(ToString(out.placements[axis]));
    }
    lines.push_back(line);
  }
  return lines;
}

std::vector<std::string> OpNames(const Program& program) {
  std::vector<std::string> names;
  for (const Op& op : program.ops()) {
    if (op.IsSource()) continue;
    names.emplace_back(op.def->name);
  }
  return names;
}

}  // namespace tp
