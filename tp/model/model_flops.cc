#include "tp/model/model_flops.h"

namespace tp {

int64_t ParametersOfProducts(const TransformerConfig& config) {
  const int64_t looked_up = (config.tied_embeddings ? 0 : config.vocabulary) + config.positions;
  return NumParameters(config) - looked_up * config.hidden;
}

double ModelFlops(const TransformerConfig& config, int64_t batch, int64_t sequence) {
  const auto tokens = static_cast<double>(batch * sequence);
  const auto attended = static_cast<double>(config.layers * config.heads * config.head_size) *
                        static_cast<double>(sequence);
  return (6 * static_cast<double>(ParametersOfProducts(config)) + 12 * attended) * tokens;
}

}  // namespace tp
