#include "tp/layers/mlp.h"

#include "tp/layers/projection.h"

namespace tp {

ValueId AddMlp(Builder& b, const MlpOptions& options, ValueId x) {
  if (x == kNoValue) return kNoValue;
  const int64_t e = b.value(x).shape.back(), f = options.features;
  const ValueId gate = AddProjection(b, "gate", {"bse,fe -> bsf", {f, e}, Shard(0)}, x);
  const ValueId up = AddProjection(b, "up", {"bse,fe -> bsf", {f, e}, Shard(0)}, x);
  const ValueId hidden = b.Op("hidden", kSwiglu, {gate, up});
  const ValueId part = AddProjection(b, "down", {"bsf,ef -> bse", {e, f}, Shard(1)}, hidden);
  return b.Redistribute("down.sum", part, Axis::kTp, options.out);
}

}  // namespace tp
