// The feed-forward layer of a transformer, its hidden features split over tp.
//
// SwiGLU: down (silu(gate x) * (up x)), with gate.weight and up.weight [f, e], down.weight [e, f].
// Source: Shazeer, "GLU Variants Improve Transformer", 2020.
// GELU, by its approximation with tanh: down gelu(up x), with biases where asked. Source: Hendrycks
// & Gimpel, "Gaussian Error Linear Units", 2016; Radford et al., 2019 (GPT-2).
#pragma once

#include <cstdint>

#include "tp/ops/builder.h"
#include "tp/program/program.h"

namespace tp {

enum class MlpKind { kSwiglu, kGelu };

struct MlpOptions {
  MlpKind kind = MlpKind::kSwiglu;
  int64_t features = 1;         // f
  bool bias = false;            // up.bias [f] and down.bias [e]
  Placement out = Replicate();  // on tp
};

// Appends the parameters above and what "down" is on `x` [batch, sequence, features], which is
// whole on every rank of tp.
ValueId AddMlp(Builder& b, const MlpOptions& options, ValueId x);

}  // namespace tp
