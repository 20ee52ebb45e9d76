#include "tp/layers/norm.h"

namespace tp {

ValueId AddNorm(Builder& b, const std::string& name, const NormOptions& options, ValueId x) {
  const Value& input = b.value(x);
  if (input.shape.empty()) return kNoValue;
  const ValueId gain = b.Parameter(name + ".gain", {input.shape.back()}, input.dtype);
  return b.Ops({name, name + ".inverse"}, kRmsNorm, {x, gain}, {{"eps", options.eps}})[0];
}

}  // namespace tp
