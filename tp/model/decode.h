// What MakeTransformerDecode's program reads beside tokens and parameters: where the tokens are.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tp/model/transformer.h"
#include "tp/program/program.h"

namespace tp {

// By input, its elements, row-major, where token b is at place places[b] of its sequence, counted
// from 0; a cache has `sequence` places. It looks at what was put in at places up to its own.
std::map<std::string, std::function<double(int64_t index)>> PlaceInputs(
    const TransformerConfig& config, int64_t sequence, const std::vector<int64_t>& places);

// The parameters that are caches, in the program's order.
std::vector<std::string> CachesOf(const Program& program);

}  // namespace tp
