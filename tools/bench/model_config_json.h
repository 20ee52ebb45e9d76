// What a record of a transformer's step says of the model and of its batch.
#pragma once

#include <nlohmann/json.hpp>

#include "tools/train/model_flags.h"
#include "tp/model/transformer.h"

namespace tp::bench {

// `model` of a record's `config`: name, part (null: the whole), parameters, layers, hidden, and the
// flags that say which step.
nlohmann::ordered_json ModelConfigToJson(const train::ModelOptions& model,
                                         const TransformerConfig& sizes);

}  // namespace tp::bench
