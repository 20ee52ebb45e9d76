// A transformer small enough for plain loops, on sizes that nothing divides, and what it is fed.
#pragma once

#include <map>
#include <string>

#include "tp/model/transformer.h"
#include "tp/runtime/parts.h"

namespace tp {

using ElementSources = std::map<std::string, ElementSource>;

// 3 groups of 3 query heads, a vocabulary of 13, 7 hidden features of the feed-forward layer.
TransformerConfig SmallTransformer();
// Three sequences of five tokens.
TransformerStepOptions SmallStep();

// For every input and parameter of a step: initial weights that are large enough for each part to
// matter, tokens whose targets are the next ones, one of each sequence without a target, and
// step 1's scalars.
ElementSources SourcesOf(const Program& program, const TransformerConfig& config);

// "tp 3 dp 1, sequence parallel".
std::string Describe(const Mesh& mesh, bool sequence_parallel);

}  // namespace tp
