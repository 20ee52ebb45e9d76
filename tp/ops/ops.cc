#include "tp/ops/ops.h"

#include <glog/logging.h>

#include <utility>

#include "tp/program/typing.h"

namespace tp {
namespace {

Status Name(Status status, const OpDef& def, const std::string& name) {
  return status.WithContext(std::string(def.name) + " '" + name + "'");
}

// Appends an op whose only output has a type of its own choice.
StatusOr<ValueId> AddDeclared(Program& program, const OpDef& def, Phase phase,
                              std::vector<ValueId> inputs, Value value) {
  const std::string name = value.name;
  Op op{.def = &def, .phase = phase, .inputs = std::move(inputs)};
  op.outputs = {program.AddValue(std::move(value))};
  Status status = CheckTypes(program, op);
  if (!status.ok()) {
    program.DropLastValue();
    return Name(std::move(status), def, name);
  }
  const ValueId id = op.outputs[0];
  program.AddOp(std::move(op));
  return id;
}

}  // namespace

StatusOr<ValueId> AddInput(Program& program, Value value) {
  return AddDeclared(program, kInput, Phase::kForward, {}, std::move(value));
}

StatusOr<ValueId> AddParameter(Program& program, Value value) {
  return AddDeclared(program, kParameter, Phase::kForward, {}, std::move(value));
}

StatusOr<std::vector<ValueId>> AddOp(Program& program, Phase phase, std::vector<std::string> names,
                                     const OpDef& def, std::vector<ValueId> inputs,
                                     Attributes attributes) {
  Op op{.def = &def,
        .phase = phase,
        .inputs = std::move(inputs),
        .attributes = std::move(attributes)};
  StatusOr<std::vector<Value>> outputs = InferOutputs(program, op);
  if (!outputs.ok()) return Name(outputs.status(), def, names.at(0));
  CHECK_EQ(outputs->size(), names.size()) << def.name;
  for (size_t i = 0; i < names.size(); ++i) {
    (*outputs)[i].name = std::move(names[i]);
    op.outputs.push_back(program.AddValue((*outputs)[i]));
  }
  std::vector<ValueId> ids = op.outputs;
  program.AddOp(std::move(op));
  return ids;
}

StatusOr<ValueId> AddOp(Program& program, Phase phase, std::string name, const OpDef& def,
                        std::vector<ValueId> inputs, Attributes attributes) {
  TP_ASSIGN_OR_RETURN(const std::vector<ValueId> ids,
                      AddOp(program, phase, std::vector<std::string>{std::move(name)}, def,
                            std::move(inputs), std::move(attributes)));
  return ids[0];
}

StatusOr<ValueId> AddMatMul(Program& program, Phase phase, std::string name, ValueId a, ValueId b,
                            MatMulOptions options) {
  const std::string letters = std::string(options.transpose_a ? "km" : "mk") + "," +
                              (options.transpose_b ? "nk" : "kn") + " -> mn";
  return AddOp(program, phase, std::move(name), kMatMul, {a, b}, {{"letters", letters}});
}

StatusOr<ValueId> AddBias(Program& program, Phase phase, std::string name, ValueId y, ValueId b) {
  return AddOp(program, phase, std::move(name), kAddBias, {y, b});
}

StatusOr<ValueId> AddMseLoss(Program& program, Phase phase, std::string name, ValueId y, ValueId t,
                             double scale) {
  return AddOp(program, phase, std::move(name), kMseLoss, {y, t}, {{"scale", scale}});
}

StatusOr<ValueId> AddMseGrad(Program& program, Phase phase, std::string name, ValueId y, ValueId t,
                             double scale) {
  return AddOp(program, phase, std::move(name), kMseGrad, {y, t}, {{"scale", scale}});
}

StatusOr<ValueId> AddSumRows(Program& program, Phase phase, std::string name, ValueId g) {
  return AddOp(program, phase, std::move(name), kSumRows, {g});
}

StatusOr<ValueId> AddSgdUpdate(Program& program, Phase phase, std::string name, ValueId w,
                               ValueId gradient, double learning_rate) {
  return AddOp(program, phase, std::move(name), kSgdUpdate, {w, gradient},
               {{"rate", learning_rate}});
}

StatusOr<ValueId> AddRedistribute(Program& program, Phase phase, std::string name, ValueId v,
                                  Axis axis, Placement to) {
  Value out = program.value(v);
  if (out.placements[axis] == to) return v;
  out.name = std::move(name);
  out.placements.Set(axis, to);
  return AddDeclared(program, kRedistribute, phase, {v}, std::move(out));
}

}  // namespace tp
