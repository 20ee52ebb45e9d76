// Transformers by name, with the sizes that their makers published.
#pragma once

#include <string_view>
#include <vector>

#include "tp/core/status.h"
#include "tp/model/transformer.h"

namespace tp {

// In the order in which they are listed.
std::vector<std::string_view> PresetNames();

// Errors: INVALID_ARGUMENT that lists the names there are.
StatusOr<TransformerConfig> Preset(std::string_view name);

}  // namespace tp
