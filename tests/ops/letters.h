// The letters that an op is tried with.
#pragma once

#include <string>
#include <vector>

#include "tp/program/op_def.h"

namespace tp {

// Its own; of ops whose letters are an attribute: matrices in each order, and more dimensions.
inline std::vector<std::string> LettersToTry(const OpDef& def) {
  if (!def.letters.empty()) return {std::string(def.letters)};
  return {"mk,kn -> mn", "km,kn -> mn",       "mk,nk -> mn",
          "km,nk -> mn", "bse,grde -> bsgrd", "bsgrd,grde -> bse"};
}

}  // namespace tp
