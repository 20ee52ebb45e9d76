// The first layer of a language model: a vector for each token, of a table whose vocabulary is
// split over tp; and where places are learned, one for each place of a sequence.
//
// Source: Shoeybi et al., "Megatron-LM", 2019, section 3.
#pragma once

#include <cstdint>

#include "tp/core/dtype.h"
#include "tp/ops/builder.h"
#include "tp/program/program.h"

namespace tp {

struct EmbeddingOptions {
  int64_t vocabulary = 1;
  int64_t features = 1;
  int64_t positions = 0;  // rows of the table of places; 0: there is none
  DType dtype = DType::kFloat32;
  Placement out = Replicate();  // on tp
  ValueId places = kNoValue;    // of the tokens, int32, whole on every rank of tp; else as they
                                // follow
};

struct Embedding {
  ValueId table = kNoValue;  // "embedding.weight" [vocabulary, features]
  ValueId x = kNoValue;      // "embedding" [batch, sequence, features]
};

// Appends both, and "position.weight" [positions, features], whole on every rank, for `tokens`
// [batch, sequence] int32, which are whole on every rank of tp. A token outside the vocabulary has
// the vector 0.
Embedding AddEmbedding(Builder& b, const EmbeddingOptions& options, ValueId tokens);

}  // namespace tp
