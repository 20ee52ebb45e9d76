#include "tp/layers/mlp.h"

#include "tp/layers/projection.h"

namespace tp {

ValueId AddMlp(Builder& b, const MlpOptions& options, ValueId x) {
  if (x == kNoValue) return kNoValue;
  const int64_t e = b.value(x).shape.back(), f = options.features;
  const auto widened = [&](const std::string& name) {
    const ValueId y = AddProjection(b, name, {"bse,fe -> bsf", {f, e}, Shard(0)}, x);
    return options.bias ? AddTokenBias(b, name, Shard(0), y) : y;
  };
  ValueId hidden = kNoValue;
  if (options.kind == MlpKind::kSwiglu) {
    const ValueId gate = widened("gate");
    hidden = b.Op("hidden", kSwiglu, {gate, widened("up")});
  } else {
    hidden = b.Op("hidden", kGeluTanh, {widened("up")});
  }
  const ValueId part = AddProjection(b, "down", {"bsf,ef -> bse", {e, f}, Shard(1)}, hidden);
  const ValueId sum = b.Redistribute("down.sum", part, Axis::kTp, options.out);
  return options.bias ? AddTokenBias(b, "down", Replicate(), sum) : sum;
}

}  // namespace tp
