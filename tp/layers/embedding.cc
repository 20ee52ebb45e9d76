#include "tp/layers/embedding.h"

namespace tp {

Embedding AddEmbedding(Builder& b, const EmbeddingOptions& options, ValueId tokens) {
  Embedding embedding;
  embedding.table = b.Parameter("embedding.weight", {options.vocabulary, options.features},
                                options.dtype, Placements(Shard(0), Replicate()));
  const ValueId part = b.Op("embedding.part", kEmbedding, {tokens, embedding.table});
  embedding.x = b.Redistribute("embedding", part, Axis::kTp, options.out);
  if (options.positions > 0) {
    const ValueId places = b.Parameter("position.weight", {options.positions, options.features},
                                       options.dtype, Placements());
    if (options.places == kNoValue) {
      embedding.x = b.Op("embedding.placed", kAddPositions, {embedding.x, places});
    } else {
      const ValueId own = b.Redistribute("places.own", options.places, Axis::kTp, options.out);
      const ValueId at = b.Op("embedding.place", kEmbedding, {own, places});
      embedding.x = b.Add("embedding.placed", embedding.x, at);
    }
  }
  return embedding;
}

}  // namespace tp
