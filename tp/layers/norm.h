// The norm of a transformer: each vector of a sequence by itself.
//
// Sources: Zhang & Sennrich, "Root Mean Square Layer Normalization", 2019; Ba, Kiros & Hinton,
// "Layer Normalization", 2016.
#pragma once

#include <string>

#include "tp/ops/builder.h"
#include "tp/program/program.h"

namespace tp {

enum class NormKind { kRms, kLayer };

struct NormOptions {
  NormKind kind = NormKind::kRms;
  double eps = 1e-5;  // added to the mean of squares, or to the variance
};

// Appends the parameter "NAME.gain" [features], with kLayer "NAME.bias" too, whole on every rank,
// and NAME, which lies as `x` [..., features] does.
ValueId AddNorm(Builder& b, const std::string& name, const NormOptions& options, ValueId x);

}  // namespace tp
