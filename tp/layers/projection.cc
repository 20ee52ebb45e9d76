#include "tp/layers/projection.h"

namespace tp {

ValueId AddProjection(Builder& b, const std::string& name, const Projection& projection,
                      ValueId x) {
  const ValueId weight = b.Parameter(name + ".weight", projection.weight, b.value(x).dtype,
                                     Placements(projection.on_tp, Replicate()));
  return b.Product(name, projection.letters, x, weight);
}

}  // namespace tp
