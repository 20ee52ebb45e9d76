#include "tests/planted/bugs.h"

#include <glog/logging.h>

#include <algorithm>
#include <utility>

#include "tests/planted/bug_parts.h"

namespace tp::planted {
namespace {

void DropRedistribute(Program& program, std::string_view name) {
  const ValueId out = program.Find(name).value();
  const ValueId in = program.ops()[program.DefinitionOf(out)].inputs[0];
  std::vector<Op> ops;
  for (Op op : program.ops()) {
    if (op.outputs[0] == out) continue;
    for (ValueId& id : op.inputs) id = id == out ? in : id;
    ops.push_back(std::move(op));
  }
  program.ReplaceOps(std::move(ops));
}

}  // namespace

std::map<Lane, std::string> ByNumbers(std::map<Lane, std::string> others) {
  for (Lane lane : {Lane::kExact, Lane::kBounded, Lane::kBoundedBf16}) others[lane];
  return others;
}

Value& ValueNamed(Program& program, std::string_view name) {
  return program.mutable_value(program.Find(name).value());
}

Op& FirstOf(Program& program, const OpDef& def) {
  for (Op& op : program.mutable_ops()) {
    if (op.Is(def)) return op;
  }
  LOG(FATAL) << "the program has no " << def.name;
}

std::function<void(Program&)> Declare(std::string name, Axis axis, Placement placement) {
  return [=](Program& program) { ValueNamed(program, name).placements.Set(axis, placement); };
}

std::function<void(Program&)> ReadWithout(std::string name) {
  return [=](Program& program) { DropRedistribute(program, name); };
}

Hooks OnSchedule(std::function<void(Schedule&, const Mesh&)> edit) {
  Hooks hooks;
  hooks.schedule = std::move(edit);
  return hooks;
}

std::vector<Bug> AllBugs() {
  std::vector<Bug> bugs;
  AddStepBugs(bugs);
  AddRankBugs(bugs);
  std::stable_sort(bugs.begin(), bugs.end(),
                   [](const Bug& a, const Bug& b) { return a.number < b.number; });
  return bugs;
}

}  // namespace tp::planted
