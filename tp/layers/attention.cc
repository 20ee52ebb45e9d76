#include "tp/layers/attention.h"

#include <cmath>

#include "tp/layers/projection.h"
#include "tp/ops/rope.h"

namespace tp {

ValueId AddAttention(Builder& b, const AttentionOptions& options, ValueId x) {
  if (x == kNoValue) return kNoValue;
  const int64_t g = options.groups, r = options.heads_of_group, d = options.head_size;
  const int64_t e = b.value(x).shape.back();
  const Placement of_query = options.cut_groups ? Shard(0) : Shard(1);
  const Placement of_key = options.cut_groups ? Shard(0) : Replicate();
  const Placement of_output = options.cut_groups ? Shard(1) : Shard(2);
  const Attributes turn = RopeAttributes(options.rope);
  const Attributes scale = {{"scale", 1 / std::sqrt(static_cast<double>(d))}};

  const auto project = [&](const std::string& name, const Projection& projection) {
    const ValueId y = AddProjection(b, name, projection, x);
    return options.input_bias ? AddTokenBias(b, name, projection.on_tp, y) : y;
  };
  const ValueId q = project("query", {"bse,grde -> bsgrd", {g, r, d, e}, of_query});
  const ValueId k = project("key", {"bse,gde -> bsgd", {g, d, e}, of_key});
  const ValueId v = project("value", {"bse,gde -> bsgd", {g, d, e}, of_key});
  const auto turned = [&](const std::string& name, ValueId heads) {
    return options.turn ? b.Op(name + ".turned", kRope, {heads}, turn) : heads;
  };
  const ValueId turned_q = turned("query", q), turned_k = turned("key", k);
  const ValueId heads =
      b.Ops({"heads", "heads.log_sum"}, kAttention, {turned_q, turned_k, v}, scale)[0];
  const ValueId part =
      AddProjection(b, "output", {"bsgrd,egrd -> bse", {e, g, r, d}, of_output}, heads);
  const ValueId sum = b.Redistribute("output.sum", part, Axis::kTp, options.out);
  return options.output_bias ? AddTokenBias(b, "output", Replicate(), sum) : sum;
}

}  // namespace tp
