// The algorithms by which collectives can run, and which of them a call gets.
#pragma once

#include <optional>
#include <string_view>

#include "tp/core/collective.h"

namespace tp::sim {

enum class Algorithm {
  kAuto,             // chosen by kind, size and members: see Resolve
  kRing,             // Patarasuk & Yuan, JPDC 2009; broadcast is a pipelined chain
  kTree,             // double binary tree: Sanders, Speck, Träff, Parallel Computing 35 (2009)
  kHalvingDoubling,  // Thakur, Rabenseifner, Gropp, IJHPCA 19 (2005)
  kDirect,           // each pair exchanges; a barrier disseminates (Hensgen, Finkel, Manber 1988)
};

inline constexpr Algorithm kAllAlgorithms[] = {Algorithm::kAuto, Algorithm::kRing, Algorithm::kTree,
                                               Algorithm::kHalvingDoubling, Algorithm::kDirect};

// "auto", "ring", "tree", "halving_doubling", "direct": the spelling of --algorithm.
const char* Name(Algorithm algorithm);
std::optional<Algorithm> ParseAlgorithm(std::string_view name);

// True if collectives of `kind` have a form of this algorithm:
//   all_reduce      ring, tree, halving_doubling, direct
//   all_gather      ring, halving_doubling, direct
//   reduce_scatter  ring, halving_doubling, direct
//   broadcast       ring, tree, direct
//   all_to_all      direct
//   barrier         direct
bool HasForm(CollectiveKind kind, Algorithm algorithm);

// The algorithm that `call` runs by when `algorithm` is asked for: that one, or where the
// collective has no such form, or kAuto is asked for, its best one. Never kAuto.
Algorithm Resolve(const CollectiveCall& call, Algorithm algorithm, int members);

}  // namespace tp::sim
