// JSON from files that are taken for hostile.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "tp/core/status.h"

namespace tp::io {

using Json = nlohmann::json;

// The object that `text` is, with at most `max_depth` objects or lists inside each other. Errors,
// which call the text `what` ("the header"): INVALID_ARGUMENT for what is no JSON, has a key twice,
// or is nested more deeply; UNAVAILABLE where it does not fit in memory.
StatusOr<Json> ParseJson(std::string_view text, std::string_view what, int max_depth);

}  // namespace tp::io
