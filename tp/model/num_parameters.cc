#include "tp/model/transformer.h"

namespace tp {
namespace {

// Numbers in the parameters of a norm.
int64_t OfNorm(const TransformerConfig& config) {
  return (config.norm.kind == NormKind::kLayer ? 2 : 1) * config.hidden;
}

}  // namespace

int64_t NumParameters(const TransformerConfig& config, TransformerPart part) {
  const int64_t matrices = config.mlp == MlpKind::kSwiglu ? 3 : 2;
  const int64_t biases = config.hidden + (matrices - 1) * config.ffn;
  const int64_t mlp = matrices * config.hidden * config.ffn + (config.bias ? biases : 0);
  if (part == TransformerPart::kMlp) return mlp;
  const int64_t heads = config.heads * config.head_size, keys = config.kv_heads * config.head_size;
  const int64_t attention = config.hidden * (2 * heads + 2 * keys) +
                            (config.qkv_bias ? heads + 2 * keys : 0) +
                            (config.bias ? config.hidden : 0);
  return attention + mlp + 2 * OfNorm(config);
}

int64_t NumParameters(const TransformerConfig& config) {
  const int64_t tables = (config.tied_embeddings ? 1 : 2) * config.vocabulary + config.positions;
  return config.layers * NumParameters(config, TransformerPart::kBlock) + OfNorm(config) +
         tables * config.hidden;
}

}  // namespace tp
