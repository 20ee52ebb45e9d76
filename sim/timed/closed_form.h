// What collectives cost by formula, and by longest path: closed forms beside the emergent time.
//
// Both are of links that no two messages share, but for those of one member to one other (kMesh): a
// message of b bytes leaves b / bandwidth after it began, and is there a latency later. Where they
// part from the emergent time, messages were in each other's way.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "sim/collectives/algorithm.h"
#include "sim/collectives/record.h"
#include "tp/core/collective.h"

namespace tp::sim {

struct LinkCost {
  double latency_ps = 0;
  double bytes_per_second = 0;

  double Of(double bytes) const { return latency_ps + Leaves(bytes); }
  double Leaves(double bytes) const { return bytes * 1e12 / bytes_per_second; }
};

// In picoseconds, not rounded. Blocks are taken as even. None where there is no formula: for trees,
// whose members take the pieces of both trees in one order, so that neither flows on its own, and
// for halving-doubling's gather and scatter among members that are no power of two.
// Sources: Patarasuk & Yuan 2009 (ring), Thakur et al. 2005 (halving-doubling), Hensgen et al. 1988
// (barrier).
std::optional<double> Formula(const CollectiveCall& call, Algorithm algorithm, int members,
                              const LinkCost& link);

// The longest path through what the members do: each receive waits for its message. In picoseconds,
// not rounded; of whatever was recorded. `link_of`: of the link from one member to another. CHECKs
// that nobody waits for ever.
double LongestPath(const std::vector<std::vector<Touch>>& touches,
                   const std::function<LinkCost(int from, int to)>& link_of);
// All links are alike.
double LongestPath(const std::vector<std::vector<Touch>>& touches, const LinkCost& link);

}  // namespace tp::sim
