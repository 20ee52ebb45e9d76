// The text that a run writes at its end: what it begins with, and how it is shown.
//
// Where the model learned bytes, --prompt is a text, and bytes are shown as characters. Where it
// learned the ids of a tokenizer, --prompt is ids with commas between, or without it the first ones
// of the text that is held out, and ids are shown: tools/tokens makes text of them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/train/options.h"
#include "tools/train/text.h"
#include "tp/core/status.h"

namespace tp::train {

// What a sample begins with; nothing where none is asked for. Errors: INVALID_ARGUMENT that names
// --prompt and what the model, of so many tokens, does not know of it.
StatusOr<std::vector<int32_t>> PromptOf(const TrainOptions& options, const Text& text,
                                        int64_t vocabulary);

// Bytes of printable characters as they are, others as "\xff", and what is no byte as "<1234>"; or
// ids, with spaces between.
std::string RenderTokens(const std::vector<int32_t>& tokens, bool are_bytes);

}  // namespace tp::train
