#include "tp/layers/cached_attention.h"

#include "tp/core/dtype.h"

namespace tp {
namespace {

// Keys or values of all tokens so far, with those of the new one, `heads` [b, s, g, d], s being 1.
ValueId AddToCache(Builder& b, const AttentionOptions& options, const std::string& name,
                   const CachePlace& at, ValueId heads) {
  const Value place = b.value(at.place);
  if (place.shape.empty()) return kNoValue;
  const ValueId cache = b.Parameter(
      name + ".cache", {place.shape[0], place.shape[1], options.groups, options.head_size},
      place.dtype, Placements(options.cut_groups ? Shard(2) : Replicate(), Shard(0)));
  const ValueId placed = b.Product(name + ".placed", "bk,bsgd -> bkgd", at.place, heads);
  // The one op that changes a parameter by what it is given: minus minus the new row.
  return b.Op(name + ".cached", kSgdUpdate, {cache, placed}, {{"rate", -1.0}});
}

}  // namespace

ValueId AddCachedAttention(Builder& b, const AttentionOptions& options, const CachePlace& at,
                           ValueId x) {
  if (x == kNoValue) return kNoValue;
  const Value input = b.value(x);
  const DType wide = AccumulatorOf(input.dtype);
  const auto cast = [&](const std::string& name, ValueId v, DType to) {
    if (wide == input.dtype) return v;
    return b.Op(name, kCast, {v}, {{"to", std::string(Name(to))}});
  };
  const AttentionHeads heads = AddAttentionHeads(b, options, x);
  const ValueId query = b.Product("query.turned", "bsgrd,bcd -> bsgrc",
                                  cast("query.wide", heads.query, wide), at.turn_query);
  const ValueId key =
      b.Product("key.turned", "bsgd,bcd -> bsgc", cast("key.wide", heads.key, wide), at.turn_key);
  const ValueId keys = AddToCache(b, options, "key", at, key);
  const ValueId values = AddToCache(b, options, "value", at, cast("value.wide", heads.value, wide));

  // The mask is the same for all heads: they are the first two dimensions of what it is added to.
  const ValueId all = b.Product("scores.all", "bsgrd,bkgd -> grbsk", query, keys);
  const ValueId scores = b.Op("scores", kAddToTokens, {all, at.seen});
  const ValueId greatest = b.Op("scores.max", kRowMax, {scores});
  const ValueId sum = b.Op("scores.sum", kExpSum, {scores, greatest});
  // One over the sum.
  const ValueId share =
      b.Ops({"share", "share.unused"}, kCrossEntropyGrad, {sum, at.ones}, {{"scale", 1.0}})[0];
  const ValueId weights = b.Op("shares", kExpSumGrad, {scores, greatest, share});
  const ValueId mixed = b.Product("heads.wide", "grbsk,bkgd -> bsgrd", weights, values);
  return AddAttentionOutput(b, options, input.shape.back(), cast("heads", mixed, input.dtype));
}

}  // namespace tp
