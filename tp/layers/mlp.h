// The feed-forward layer of a transformer, its hidden features split over tp.
//
// SwiGLU: down (silu(gate x) * (up x)), with gate.weight and up.weight [f, e], down.weight [e, f].
// Source: Shazeer, "GLU Variants Improve Transformer", 2020.
#pragma once

#include <cstdint>

#include "tp/ops/builder.h"
#include "tp/program/program.h"

namespace tp {

struct MlpOptions {
  int64_t features = 1;         // f
  Placement out = Replicate();  // on tp
};

// Appends the parameters above and what "down" is on `x` [batch, sequence, features], which is
// whole on every rank of tp.
ValueId AddMlp(Builder& b, const MlpOptions& options, ValueId x);

}  // namespace tp
