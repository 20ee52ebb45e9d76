// The attributes of rope: how fast each pair of a head's elements turns, and which make a pair.
#pragma once

#include <cstdint>

#include "tp/program/attributes.h"

namespace tp {

// Pair i of d elements turns by base^(-2i/d) a place, in radians; slower where the model is
// stretched to longer sequences than it was trained on.
struct RopeOptions {
  double base = 10000;
  // Elements 2i and 2i + 1 are a pair (Su et al.); else i and i + d/2 (GPT-NeoX, Hugging Face).
  bool interleaved = false;
  // All pairs turn slower by it (Chen et al., "Extending Context Window of Large Language Models
  // via Position Interpolation", 2023): what Hugging Face calls "linear".
  double factor = 1;
  // Above 0, the sequence that the model was trained on, in places: only pairs that turn less than
  // `low` times within it turn slower by the factor, those that turn more than `high` times stay,
  // and those between are in between. What Hugging Face calls "llama3" (Llama 3.1).
  double original = 0;
  double low = 1;
  double high = 4;
};

Attributes RopeAttributes(const RopeOptions& options);

// By how many radians a place turns pair `pair` of a head of `size` elements, with attributes that
// RopeAttributes made.
double TurnOf(const Attributes& attributes, int64_t pair, int64_t size);

}  // namespace tp
