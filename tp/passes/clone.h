// Copies of ops, for passes that have a program do something once more.
#pragma once

#include <string>
#include <unordered_map>

#include "tp/program/program.h"

namespace tp {

// What took a value's place; itself where there is nothing.
using ValueMap = std::unordered_map<ValueId, ValueId>;

// Has `op` read what took its inputs' places.
inline void RenameInputs(Op& op, const ValueMap& places) {
  for (ValueId& id : op.inputs) {
    if (const auto other = places.find(id); other != places.end()) id = other->second;
  }
}

// The same op on what took its inputs' places, with new values, "prefix" and the old name, which
// take its outputs' places. It is not in the program yet.
inline Op CloneOp(Program& program, Op op, const std::string& prefix, ValueMap& places) {
  RenameInputs(op, places);
  for (ValueId& id : op.outputs) {
    Value value = program.value(id);
    value.name = program.FreeName(prefix + value.name);
    const ValueId clone = program.AddValue(std::move(value));
    places[id] = clone;
    id = clone;
  }
  return op;
}

}  // namespace tp
