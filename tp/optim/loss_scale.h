// Keeps small gradients of fp16 from vanishing: the loss is scaled up before it is differentiated,
// and gradients are scaled down again before they are used. The scale is a power of two, so that
// neither rounds but where numbers leave fp16's range, and it finds its own size: a step whose
// gradients are not finite changes no parameter and halves it; after 2,000 steps that were finite
// it is doubled. All of that is part of the program; the host is not asked.
//
// Source: tp/ops/loss_scale.cc.
#pragma once

#include "tp/core/dtype.h"
#include "tp/ops/builder.h"
#include "tp/program/program.h"

namespace tp {

// Parameters, scalars in the accumulator's type: the scale, 1 / the scale, which begin as these,
// and the steps since it changed, which begin as 0.
inline constexpr char kLossScaleParameter[] = "loss.scale";
inline constexpr char kLossScaleInverse[] = "loss.scale.inverse";
inline constexpr char kLossScaleSteps[] = "loss.scale.steps";
// The gradient of a mean over tokens has a norm of ten or so in its first steps; fp16 ends at
// 65504.
inline constexpr double kFirstLossScale = 4096;

struct LossScaling {
  ValueId scale = kNoValue;
  ValueId inverse = kNoValue;
  ValueId steps = kNoValue;

  bool has(ValueId v) const { return v == scale || v == inverse || v == steps; }
};

// Appends the parameters; `wide` is what a program's type accumulates in.
LossScaling AddLossScale(Builder& b, DType wide);

// Appends what the next step takes, which must be behind all that reads the scale. From the sum of
// the squares of this one's gradients, without the scale, and the factor `clip` that clips them;
// returns that of scaled gradients, 0 for a step to skip.
ValueId UpdateLossScale(Builder& b, const LossScaling& scale, ValueId squares, ValueId clip);

}  // namespace tp
