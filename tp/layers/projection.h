// A projection: the product of a sequence of vectors and a weight, split over tp by output or by
// input as Megatron-LM splits them.
//
// x is [batch, sequence, ...]; letters say the rest: "bse,grde -> bsgrd" makes heads of a vector.
// A weight's memory is that of Hugging Face's [out, in], its dimensions are those of what it makes:
// heads are dimensions, so that cuts fall between them and nothing is reshaped.
//
// Source: Shoeybi et al., "Megatron-LM", 2019, section 3; Korthikanti et al., "Reducing Activation
// Recomputation in Large Transformer Models", 2022, for the sequence between the products.
#pragma once

#include <string>

#include "tp/ops/builder.h"
#include "tp/program/program.h"

namespace tp {

// How a sequence of vectors lies on tp between the products of two layers: whole on every rank, or
// cut by places in the sequence.
constexpr Placement BetweenProducts(bool sequence_parallel) {
  return sequence_parallel ? Shard(1) : Replicate();
}

struct Projection {
  std::string letters;  // of x, the weight and the product
  Shape weight;         // [out..., in...]
  Placement on_tp;      // of the weight
};

// Appends the parameter "NAME.weight" and the product NAME, which lies as the letters say: cut
// where the weight is cut, or Partial where that is summed over. The weight's type is x's.
ValueId AddProjection(Builder& b, const std::string& name, const Projection& projection, ValueId x);

// Appends the parameter "NAME.bias" of the shape that a token of `x` [batch, sequence, ...] has,
// which lies `on_tp` as that does, and the sum. `x` is no part of a sum.
ValueId AddTokenBias(Builder& b, const std::string& name, Placement on_tp, ValueId x);

}  // namespace tp
