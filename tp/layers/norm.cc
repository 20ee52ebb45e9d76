#include "tp/layers/norm.h"

namespace tp {

ValueId AddNorm(Builder& b, const std::string& name, const NormOptions& options, ValueId x) {
  const Value& input = b.value(x);
  if (input.shape.empty()) return kNoValue;
  const ValueId gain = b.Parameter(name + ".gain", {input.shape.back()}, input.dtype);
  const Attributes eps = {{"eps", options.eps}};
  if (options.kind == NormKind::kRms) {
    return b.Ops({name, name + ".inverse"}, kRmsNorm, {x, gain}, eps)[0];
  }
  const ValueId bias = b.Parameter(name + ".bias", {input.shape.back()}, input.dtype);
  return b.Ops({name, name + ".mean", name + ".inverse"}, kLayerNorm, {x, gain, bias}, eps)[0];
}

}  // namespace tp
