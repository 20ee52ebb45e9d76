#include "tp/program/ops.h"

#include <glog/logging.h>

#include <utility>

#include "tp/program/rules.h"

namespace tp {
namespace {

// Appends an op whose only output has a type of its own choice.
StatusOr<ValueId> AddDeclared(Program& program, Op op, Value value) {
  const std::string name = value.name;
  Program trial = program;  // programs are tens of ops; a copy keeps the original whole on error
  op.outputs = {trial.AddValue(std::move(value))};
  Status status = CheckTypes(trial, op);
  if (!status.ok()) return status.WithContext(std::string(Name(op.kind)) + " '" + name + "'");
  const ValueId id = op.outputs[0];
  trial.AddOp(std::move(op));
  program = std::move(trial);
  return id;
}

StatusOr<ValueId> AddInferred(Program& program, Op op, std::string name) {
  StatusOr<std::vector<Value>> outputs = InferOutputs(program, op);
  if (!outputs.ok()) {
    return outputs.status().WithContext(std::string(Name(op.kind)) + " '" + name + "'");
  }
  CHECK_EQ(outputs->size(), 1u);
  (*outputs)[0].name = std::move(name);
  const ValueId id = program.AddValue((*outputs)[0]);
  op.outputs = {id};
  program.AddOp(std::move(op));
  return id;
}

Op MakeOp(OpKind kind, Phase phase, std::vector<ValueId> inputs, double scale = 0) {
  Op op;
  op.kind = kind;
  op.phase = phase;
  op.inputs = std::move(inputs);
  op.scale = scale;
  return op;
}

}  // namespace

StatusOr<ValueId> AddInput(Program& program, Value value) {
  return AddDeclared(program, MakeOp(OpKind::kInput, Phase::kForward, {}), std::move(value));
}

StatusOr<ValueId> AddParameter(Program& program, Value value) {
  return AddDeclared(program, MakeOp(OpKind::kParameter, Phase::kForward, {}), std::move(value));
}

StatusOr<ValueId> AddMatMul(Program& program, Phase phase, std::string name, ValueId a, ValueId b,
                            MatMulOptions options) {
  Op op = MakeOp(OpKind::kMatMul, phase, {a, b});
  op.transpose_a = options.transpose_a;
  op.transpose_b = options.transpose_b;
  return AddInferred(program, std::move(op), std::move(name));
}

StatusOr<ValueId> AddBias(Program& program, Phase phase, std::string name, ValueId y, ValueId b) {
  return AddInferred(program, MakeOp(OpKind::kAddBias, phase, {y, b}), std::move(name));
}

StatusOr<ValueId> AddMseLoss(Program& program, Phase phase, std::string name, ValueId y, ValueId t,
                             double scale) {
  return AddInferred(program, MakeOp(OpKind::kMseLoss, phase, {y, t}, scale), std::move(name));
}

StatusOr<ValueId> AddMseGrad(Program& program, Phase phase, std::string name, ValueId y, ValueId t,
                             double scale) {
  return AddInferred(program, MakeOp(OpKind::kMseGrad, phase, {y, t}, scale), std::move(name));
}

StatusOr<ValueId> AddSumRows(Program& program, Phase phase, std::string name, ValueId g) {
  return AddInferred(program, MakeOp(OpKind::kSumRows, phase, {g}), std::move(name));
}

StatusOr<ValueId> AddSgdUpdate(Program& program, Phase phase, std::string name, ValueId w,
                               ValueId gradient, double learning_rate) {
  return AddInferred(program, MakeOp(OpKind::kSgdUpdate, phase, {w, gradient}, learning_rate),
                     std::move(name));
}

StatusOr<ValueId> AddRedistribute(Program& program, Phase phase, std::string name, ValueId v,
                                  Axis axis, Placement to) {
  Value out = program.value(v);
  if (out.placements[axis] == to) return v;
  out.name = std::move(name);
  out.placements[axis] = to;
  return AddDeclared(program, MakeOp(OpKind::kRedistribute, phase, {v}), std::move(out));
}

}  // namespace tp
