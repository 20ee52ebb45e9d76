// Fold: which ranks of a world do the same at the same time, so that one of each kind is enough.
//
// Colour refinement (Weisfeiler & Leman, 1968) of ranks, the groups that they meet in, and the
// nodes that they share: ranks begin with the colour of what they do, a group has that of its
// members and of how it lies, a rank then that of itself, its groups and its node, until no more
// colours appear. Ranks of one colour then have equal steps, to the picosecond but for the order in
// which sums are rounded.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tp::predict {

struct FoldGroup {
  std::vector<int> ranks;  // in member order
  std::string lie;         // LieOf, and what else tells groups apart
};

struct Folding {
  std::vector<int> colour_of_rank;
  std::vector<int> colour_of_group;
  std::vector<int> colour_of_node;
  std::vector<int> representatives;  // the first rank of each colour
  std::vector<int> ranks_of_colour;  // how many
};

// `kinds`: by rank, equal where ranks do the same. `groups`: of each axis all of them. `nodes`: by
// rank; empty where nodes share nothing.
Folding Fold(const std::vector<int>& kinds, const std::vector<FoldGroup>& groups,
             const std::vector<int>& nodes);

// Each rank is its own representative.
Folding NoFold(int ranks, int groups, const std::vector<int>& nodes);

}  // namespace tp::predict
