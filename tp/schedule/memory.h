// Memory: where the buffers of a Schedule lie in their rank's one arena.
//
// A buffer lives from its first to its last use in a step, by the order of streams and waits
// (step_order.h) and not by the list. Two buffers may share bytes where every use of one is before
// every use of the other, so that no race can follow. What is read or written from outside (inputs,
// parameters, results) lives for ever, and so does what no op uses.
//
// The places are found largest first, each in the smallest gap that it fits; Pisarchyk & Lee,
// "Efficient Memory Management for Deep Neural Net Inference", 2020 (greedy by size). That they are
// right is for CheckHazards to say, which works otherwise.
#pragma once

#include <cstdint>
#include <vector>

#include "tp/schedule/schedule.h"
#include "tp/schedule/step_order.h"

namespace tp {

enum class Keep {
  kNeeded,  // memory is used again
  kAll,     // every buffer has memory of its own, so that all of them can be read after a step
};

// Places buffers. One planner for all ranks of a mesh plans what they have in common once.
class MemoryPlanner {
 public:
  // Sets Buffer::offset of every buffer. The schedule's waits are there and it has no race.
  void Place(Schedule& schedule, Keep keep);

 private:
  // All that a plan depends on.
  struct Life {
    int64_t bytes = 0;  // with what it takes to the next buffer
    int64_t alignment = 1;
    bool for_ever = false;
    int first = 0;      // the op, in list order, that first uses it
    Ended begins = {};  // what has ended before each of its uses
    Ended ends = {};    // its uses and what has ended before them

    bool operator==(const Life&) const = default;
  };

  static std::vector<Life> LivesOf(const Schedule& schedule, Keep keep);
  static std::vector<int64_t> OffsetsOf(const std::vector<Life>& lives);

  struct Plan {
    std::vector<Life> lives;
    std::vector<int64_t> offsets;  // by buffer
  };
  std::vector<Plan> plans_;  // one for each kind of schedule
};

// The arena that an executor allocates, on a page.
struct ArenaLayout {
  std::vector<int64_t> offsets;  // by buffer, in bytes; those that were placed nowhere come last
  int64_t bytes = 0;             // a multiple of kArenaAlignment
};
inline constexpr int64_t kArenaAlignment = 4096;
ArenaLayout ArenaOf(const Schedule& schedule);
// What it would have if no memory were used again.
int64_t BytesWithoutReuse(const Schedule& schedule);
// The most bytes of buffers that live at one time where ops run in list order: no arena can have
// fewer.
int64_t MostLiveBytes(const Schedule& schedule);

}  // namespace tp
