#include "tp/layers/attention.h"

#include <cmath>
#include <vector>

#include "tp/layers/projection.h"
#include "tp/ops/rope.h"

namespace tp {

double ScaleOf(const AttentionOptions& options) {
  return 1 / std::sqrt(static_cast<double>(options.head_size));
}

AttentionHeads AddAttentionHeads(Builder& b, const AttentionOptions& options, ValueId x) {
  if (x == kNoValue) return {};
  const int64_t g = options.groups, r = options.heads_of_group, d = options.head_size;
  const int64_t e = b.value(x).shape.back();
  const Placement of_query = options.cut_groups ? Shard(0) : Shard(1);
  const Placement of_key = options.cut_groups ? Shard(0) : Replicate();
  const auto project = [&](const std::string& name, const Projection& projection) {
    const ValueId y = AddProjection(b, name, projection, x);
    return options.input_bias ? AddTokenBias(b, name, projection.on_tp, y) : y;
  };
  AttentionHeads heads;
  heads.query = project("query", {"bse,grde -> bsgrd", {g, r, d, e}, of_query});
  heads.key = project("key", {"bse,gde -> bsgd", {g, d, e}, of_key});
  heads.value = project("value", {"bse,gde -> bsgd", {g, d, e}, of_key});
  return heads;
}

ValueId AddAttentionOutput(Builder& b, const AttentionOptions& options, int64_t features,
                           ValueId heads) {
  const int64_t g = options.groups, r = options.heads_of_group, d = options.head_size;
  const Placement of_output = options.cut_groups ? Shard(1) : Shard(2);
  const ValueId part =
      AddProjection(b, "output", {"bsgrd,egrd -> bse", {features, g, r, d}, of_output}, heads);
  const ValueId sum = b.Redistribute("output.sum", part, Axis::kTp, options.out);
  return options.output_bias ? AddTokenBias(b, "output", Replicate(), sum) : sum;
}

ValueId AddAttention(Builder& b, const AttentionOptions& options, ValueId x, ValueId starts) {
  if (x == kNoValue) return kNoValue;
  const Attributes turn = RopeAttributes(options.rope);
  const auto [query, key, value] = AddAttentionHeads(b, options, x);
  const auto turned = [&](const std::string& name, ValueId heads) {
    return options.turn ? b.Op(name + ".turned", kRope, {heads}, turn) : heads;
  };
  const ValueId turned_query = turned("query", query), turned_key = turned("key", key);
  std::vector<ValueId> operands = {turned_query, turned_key, value};
  if (starts != kNoValue) operands.push_back(starts);
  const ValueId heads =
      b.Ops({"heads", "heads.log_sum"}, starts == kNoValue ? kAttention : kPackedAttention,
            operands, {{"scale", ScaleOf(options)}})[0];
  return AddAttentionOutput(b, options, b.value(x).shape.back(), heads);
}

}  // namespace tp
