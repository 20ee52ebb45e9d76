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

double PartFlops(const TransformerConfig& config, TransformerPart part, int64_t batch,
                 int64_t sequence) {
  const auto tokens = static_cast<double>(batch * sequence);
  const bool attends = part == TransformerPart::kBlock;
  const auto attended =
      static_cast<double>(attends ? config.heads * config.head_size * sequence : 0);
  return (6 * static_cast<double>(NumParameters(config, part)) + 12 * attended) * tokens;
}

}  // namespace tp
