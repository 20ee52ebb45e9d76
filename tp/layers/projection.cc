#include "tp/layers/projection.h"

namespace tp {

ValueId AddProjection(Builder& b, const std::string& name, const Projection& projection,
                      ValueId x) {
  const ValueId weight = b.Parameter(name + ".weight", projection.weight, b.value(x).dtype,
                                     Placements(projection.on_tp, Replicate()));
  return b.Product(name, projection.letters, x, weight);
}

ValueId AddTokenBias(Builder& b, const std::string& name, Placement on_tp, ValueId x) {
  if (x == kNoValue) return kNoValue;
  const Value& value = b.value(x);
  const ValueId bias =
      b.Parameter(name + ".bias", Shape(value.shape.begin() + 2, value.shape.end()), value.dtype,
                  Placements(on_tp, Replicate()));
  return b.Op(name + ".biased", kAddToTokens, {x, bias});
}

}  // namespace tp
