// StepOrder: which ops of a Schedule have ended when another one begins.
//
// One op is before another if their stream or a chain of waits leads from it to the other
// (happens-before; Lamport, "Time, Clocks, and the Ordering of Events", CACM 1978). A stream runs
// in order, so what has ended of it is a number; one number a stream says it all (vector clocks;
// Mattern, "Virtual Time and Global States of Distributed Systems", 1989).
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "tp/schedule/schedule.h"

namespace tp {

// By stream: how many of its ops, from the first on.
using Ended = std::array<int, kMostStreams>;

constexpr bool Covers(const Ended& a, const Ended& b) {
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] < b[i]) return false;
  }
  return true;
}
constexpr void Join(Ended& into, const Ended& other) {
  for (size_t i = 0; i < into.size(); ++i) into[i] = into[i] < other[i] ? other[i] : into[i];
}

class StepOrder {
 public:
  // Takes in no op yet. `schedule` outlives this.
  explicit StepOrder(const Schedule& schedule) : schedule_(schedule) {}

  // Takes in the next op of the list: behind the one before it on its stream, and behind its waits,
  // which are ops before it.
  void Add();
  // The last op that was added waits for `op` too.
  void AddWait(int op) { Join(ended_.back(), EndedWith(op)); }

  // Whether `a` has ended when `b` begins.
  bool IsBefore(int a, int b) const {
    const auto stream = static_cast<size_t>(schedule_.ops[a].stream);
    return place_[a] < ended_[b][stream];
  }
  // What has ended when `op` begins.
  const Ended& EndedBefore(int op) const { return ended_[op]; }
  // `op` and what has ended before it.
  Ended EndedWith(int op) const;

 private:
  const Schedule& schedule_;
  std::vector<int> place_;    // by op: its place in its stream
  std::vector<Ended> ended_;  // by op
  Ended added_ = {};          // how many ops of each stream were added
  std::array<int, kMostStreams> last_ = {};
};

}  // namespace tp
