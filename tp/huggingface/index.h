// model.safetensors.index.json: which tensor lies in which of a checkpoint's files.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "tp/core/status.h"

namespace tp::hf {

// By the tensor's name, the file that it is said to lie in, which is one of the same folder.
// Errors, which call the text `path`: INVALID_ARGUMENT for what is no such index.
StatusOr<std::map<std::string, std::string>> ParseIndex(std::string_view text,
                                                        const std::string& path);

}  // namespace tp::hf
