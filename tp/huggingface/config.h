// config.json of Hugging Face's transformers: what a model's sizes are and how its layers work.
//
// Read are the models of type llama (SmolLM too), mistral, qwen2 and gpt2. A key that changes what
// the layers compute, and that they do not follow here, is an error and never passed over: another
// activation, another scaled rope, a bias, attention to a window. Dropout is none here, whatever
// the file says of it.
//
// Source: the configuration classes of those models in the package `transformers`, 4 and 5.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "tp/core/dtype.h"
#include "tp/core/status.h"
#include "tp/model/transformer.h"

namespace tp::hf {

struct ModelConfig {
  std::string type;  // "llama", "mistral", "qwen2", "gpt2"
  TransformerConfig sizes;
  // Tokens of the longest sequence that attention is computed for as here, and that the model was
  // made for.
  int64_t longest = 0;
  std::string text;  // config.json
};

// From the text of a file, which errors call `file`. Errors: INVALID_ARGUMENT that names the key,
// its value, and what it may be.
StatusOr<ModelConfig> ParseConfig(std::string_view text, const std::string& file);

// From config.json in `folder`.
StatusOr<ModelConfig> ReadConfig(const std::string& folder);

// For a model that was made here, of sequences of up to `longest` tokens.
ModelConfig ConfigOf(const TransformerConfig& sizes, int64_t longest);

// The text of config.json where the weights beside it are of type `dtype`; all else as it was read.
std::string TextWithDType(const ModelConfig& config, DType dtype);

}  // namespace tp::hf
