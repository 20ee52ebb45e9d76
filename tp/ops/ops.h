// One function an op: each appends it to a Program and returns its output.
//
// The output's shape, type and placements follow from the inputs (tp/program/typing.h); `name`
// names it. Errors: INVALID_ARGUMENT where no rule fits, and the Program is as before.
#pragma once

#include <string>
#include <vector>

#include "tp/core/status.h"
#include "tp/ops/all.h"
#include "tp/program/program.h"

namespace tp {

// Fed from outside. Errors: a placement that the shape does not have.
StatusOr<ValueId> AddInput(Program& program, Value value);
StatusOr<ValueId> AddParameter(Program& program, Value value);

// Any op, with a name for each output.
StatusOr<std::vector<ValueId>> AddOp(Program& program, Phase phase, std::vector<std::string> names,
                                     const OpDef& def, std::vector<ValueId> inputs,
                                     Attributes attributes = {});
// Any op of one output.
StatusOr<ValueId> AddOp(Program& program, Phase phase, std::string name, const OpDef& def,
                        std::vector<ValueId> inputs, Attributes attributes = {});

// Of matrices.
struct MatMulOptions {
  bool transpose_a = false;
  bool transpose_b = false;
};
StatusOr<ValueId> AddMatMul(Program& program, Phase phase, std::string name, ValueId a, ValueId b,
                            MatMulOptions options);
StatusOr<ValueId> AddBias(Program& program, Phase phase, std::string name, ValueId y, ValueId b);
// scale * sum((y - t)^2); scale is 1 / (number of elements of y) for the mean.
StatusOr<ValueId> AddMseLoss(Program& program, Phase phase, std::string name, ValueId y, ValueId t,
                             double scale);
StatusOr<ValueId> AddMseGrad(Program& program, Phase phase, std::string name, ValueId y, ValueId t,
                             double scale);
StatusOr<ValueId> AddSumRows(Program& program, Phase phase, std::string name, ValueId g);
// w - learning_rate * gradient, which takes the place of w in memory.
StatusOr<ValueId> AddSgdUpdate(Program& program, Phase phase, std::string name, ValueId w,
                               ValueId gradient, double learning_rate);

// `v` with placement `to` on `axis`; `v` itself if it lies so already.
StatusOr<ValueId> AddRedistribute(Program& program, Phase phase, std::string name, ValueId v,
                                  Axis axis, Placement to);

}  // namespace tp
