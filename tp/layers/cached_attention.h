// Attention of one new token of each sequence, whose earlier tokens' keys and values are kept.
//
// The cache is two parameters of the layer, "key.cache" and "value.cache" [batch, places, g, d], in
// the accumulator's type, which lie on tp as the key and value heads do. A step adds the token's
// own to its place in them, which must be zero before: where a sequence begins anew, caches are set
// to zero. With the parameters and the options of tp/layers/attention.h it gives what that gives
// for the last token of a sequence, but for rounding: scores are not rounded to a type that is
// narrower than the accumulator's.
//
// It is composed of ops that are there: the products turn heads (rope is linear, a matrix for each
// place), the sum with `seen` is the mask, and the softmax is that of the language model's loss.
//
// Source: Shazeer, "Fast Transformer Decoding", 2019; Pope et al., "Efficiently Scaling Transformer
// Inference", 2022.
#pragma once

#include "tp/layers/attention.h"
#include "tp/ops/builder.h"
#include "tp/program/program.h"

namespace tp {

// What tells a token's place to every layer; fed, in the accumulator's type.
struct CachePlace {
  ValueId place = kNoValue;       // [batch, places]: 1 at the token's place, 0 elsewhere
  ValueId seen = kNoValue;        // [batch, 1, places]: added to scores, 0 where it looks
  ValueId turn_query = kNoValue;  // [batch, d, d]: what turns a head, with the scores' scale
  ValueId turn_key = kNoValue;    // [batch, d, d]
  ValueId ones = kNoValue;        // [g, r, batch, 1]; lies on tp as the query heads do
};

// Appends that for `x` [batch, 1, features].
ValueId AddCachedAttention(Builder& b, const AttentionOptions& options, const CachePlace& at,
                           ValueId x);

}  // namespace tp
