// The files of a folder in Hugging Face's layout, by name.
#pragma once

#include <string>

#include "tp/core/status.h"

namespace tp::hf {

inline constexpr char kConfigFile[] = "config.json";
inline constexpr char kWeightsFile[] = "model.safetensors";
inline constexpr char kIndexFile[] = "model.safetensors.index.json";
// Ours: what training goes on with beside the weights.
inline constexpr char kOptimizerFile[] = "optimizer.safetensors";

// All of a small file. Errors: the system's; INVALID_ARGUMENT for one that is far too large.
StatusOr<std::string> ReadText(const std::string& path);

}  // namespace tp::hf
