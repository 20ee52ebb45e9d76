#include "tp/model/presets.h"

#include <string>
#include <utility>

namespace tp {
namespace {

// Bytes as tokens; small enough that a CPU of two cores learns English of it in minutes.
constexpr TransformerConfig kLlamaTiny = {.vocabulary = 256,
                                          .hidden = 128,
                                          .layers = 3,
                                          .heads = 4,
                                          .kv_heads = 2,
                                          .head_size = 32,
                                          .ffn = 344};

// Grattafiori et al., "The Llama 3 Herd of Models", 2024, table 3; rope and norm as in the
// config.json that Meta published with the weights.
constexpr TransformerConfig kLlama3_8b = {.vocabulary = 128256,
                                          .hidden = 4096,
                                          .layers = 32,
                                          .heads = 32,
                                          .kv_heads = 8,
                                          .head_size = 128,
                                          .ffn = 14336,
                                          .rope = {.base = 500000}};
constexpr TransformerConfig kLlama3_70b = {.vocabulary = 128256,
                                           .hidden = 8192,
                                           .layers = 80,
                                           .heads = 64,
                                           .kv_heads = 8,
                                           .head_size = 128,
                                           .ffn = 28672,
                                           .rope = {.base = 500000}};

// The config.json of HuggingFaceTB/SmolLM2-135M; Allal et al., "SmolLM2", 2025.
constexpr TransformerConfig kSmolLm2_135m = {.vocabulary = 49152,
                                             .hidden = 576,
                                             .layers = 30,
                                             .heads = 9,
                                             .kv_heads = 3,
                                             .head_size = 64,
                                             .ffn = 1536,
                                             .rope = {.base = 100000},
                                             .tied_embeddings = true};

// Radford et al., "Language Models are Unsupervised Multitask Learners", 2019.
constexpr TransformerConfig kGpt2 = {.vocabulary = 50257,
                                     .hidden = 768,
                                     .layers = 12,
                                     .heads = 12,
                                     .kv_heads = 12,
                                     .head_size = 64,
                                     .ffn = 3072,
                                     .norm = {.kind = NormKind::kLayer},
                                     .mlp = MlpKind::kGelu,
                                     .qkv_bias = true,
                                     .bias = true,
                                     .positions = 1024,
                                     .tied_embeddings = true};

// The config.json of Qwen/Qwen2.5-7B; Yang et al., "Qwen2.5 Technical Report", 2024.
constexpr TransformerConfig kQwen25_7b = {.vocabulary = 152064,
                                          .hidden = 3584,
                                          .layers = 28,
                                          .heads = 28,
                                          .kv_heads = 4,
                                          .head_size = 128,
                                          .ffn = 18944,
                                          .norm = {.eps = 1e-6},
                                          .qkv_bias = true,
                                          .rope = {.base = 1000000}};

constexpr std::pair<std::string_view, const TransformerConfig*> kPresets[] = {
    {"llama-tiny", &kLlamaTiny}, {"smollm2-135m", &kSmolLm2_135m}, {"gpt2", &kGpt2},
    {"qwen2.5-7b", &kQwen25_7b}, {"llama3-8b", &kLlama3_8b},       {"llama3-70b", &kLlama3_70b},
};

}  // namespace

std::vector<std::string_view> PresetNames() {
  std::vector<std::string_view> names;
  for (const auto& [name, config] : kPresets) names.push_back(name);
  return names;
}

StatusOr<TransformerConfig> Preset(std::string_view name) {
  std::string all;
  for (const auto& [known, config] : kPresets) {
    if (known == name) return *config;
    all += (all.empty() ? "" : ", ") + std::string(known);
  }
  return InvalidArgument("no model is called '" + std::string(name) + "'; there are " + all);
}

}  // namespace tp
