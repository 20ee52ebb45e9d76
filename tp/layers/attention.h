// Causal self-attention of a transformer, its heads split over tp.
//
// Heads are dimensions of the parameters: g groups of one key and value head and r query heads
// each, d numbers a head, e features:
//
//   query.weight [g, r, d, e]   key.weight, value.weight [g, d, e]   output.weight [e, g, r, d]
//   query.bias [g, r, d]        key.bias, value.bias [g, d]          output.bias [e]     where
//   asked
//
// Over tp the groups are cut, or where there are more ranks than groups the query heads of each
// group: keys and values are then whole on every rank. Sizes need not divide.
//
// Sources: Vaswani et al., "Attention Is All You Need", 2017; Ainslie et al., "GQA", 2023; Su et
// al., "RoFormer", 2021.
#pragma once

#include <cstdint>

#include "tp/ops/builder.h"
#include "tp/ops/rope.h"
#include "tp/program/program.h"

namespace tp {

struct AttentionOptions {
  int64_t groups = 1;          // key and value heads
  int64_t heads_of_group = 1;  // query heads of each
  int64_t head_size = 1;
  bool turn = true;  // queries and keys, by their places
  RopeOptions rope = {};
  bool input_bias = false;  // of query, key and value
  bool output_bias = false;
  bool cut_groups = true;       // over tp; else the query heads of each group
  Placement out = Replicate();  // on tp
};

// What scores are multiplied by before their softmax: 1 / sqrt(head_size).
double ScaleOf(const AttentionOptions& options);

// Appends the parameters above and what "output" is on `x` [batch, sequence, features], which is
// whole on every rank of tp. Where `starts` [batch, sequence] int32 is given, several documents are
// packed into a sequence: a token looks at no place before its start. (Rope knows distances alone,
// so that turning by the places of the sequence is turning by those of the document.)
ValueId AddAttention(Builder& b, const AttentionOptions& options, ValueId x,
                     ValueId starts = kNoValue);

// The two ends of it: queries [b, s, g, r, d], keys and values [b, s, g, d] before they are turned;
// and from what the heads give, [b, s, g, r, d], the layer's output of `features`.
struct AttentionHeads {
  ValueId query = kNoValue;
  ValueId key = kNoValue;
  ValueId value = kNoValue;
};
AttentionHeads AddAttentionHeads(Builder& b, const AttentionOptions& options, ValueId x);
ValueId AddAttentionOutput(Builder& b, const AttentionOptions& options, int64_t features,
                           ValueId heads);

}  // namespace tp
