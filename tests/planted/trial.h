// A trial: one planted bug run past every lane.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "tests/planted/bugs.h"
#include "tp/core/status.h"

namespace tp::planted {

// What one lane made of it, over all seeds.
struct LaneResult {
  int runs = 0;     // 0: the bug never got as far
  int catches = 0;  // runs in which the lane spoke up
  // What it named, if it named the same each time; else all that it named.
  std::string named;
  double least_ratio = 0;  // bounded lanes: the smallest error over bound of the catches
  std::string report;      // the first catch's words

  bool caught() const { return runs > 0 && catches == runs; }
};

struct Trial {
  std::map<Lane, LaneResult> lanes;

  const LaneResult& Of(Lane lane) const { return lanes.at(lane); }
  std::optional<Lane> FirstCatch() const;
};

// How often each lane that runs sees the bug, each time with other numbers.
inline constexpr int kSeeds = 5;

// Errors: what has nothing to do with the bug, as a setting that can't be run.
StatusOr<Trial> RunTrial(const Bug& bug);

// The words "lane: named" that are wrong about a bug: a lane that is silent where it must catch it,
// one that names something else, one that speaks up unasked. Empty where all is right.
std::string Complaints(const Bug& bug, const Trial& trial);

}  // namespace tp::planted
