// How the ranks of a run go from step to step together, and stop at the same one.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "tp/core/status.h"
#include "tp/runtime/backend.h"

namespace tp {

// How many steps each of so many blocks has, the first ones one more than the last where they don't
// divide.
inline std::vector<int> BlockSizes(int steps, int blocks) {
  std::vector<int> sizes;
  for (int block = 0; block < blocks; ++block) {
    sizes.push_back(steps / blocks + (block < steps % blocks ? 1 : 0));
  }
  return sizes;
}

// Where all ranks of one process stop: rank 0 writes the number of a step before the barrier that
// begins it, the others read it behind that barrier. So all agree, however far one is behind.
class StopLine {
 public:
  void Draw(int64_t step) { at_.store(step, std::memory_order_relaxed); }
  bool Reached(int64_t step) const { return at_.load(std::memory_order_relaxed) <= step; }

 private:
  std::atomic<int64_t> at_ = std::numeric_limits<int64_t>::max();
};

// One rank's way. Used from its thread; `stop`, `line` and `context` must outlive it.
class Pace {
 public:
  // `stop` is asked on rank 0, before each step; it may be empty.
  Pace(const std::function<bool()>& stop, StopLine& line, RankContext& context)
      : stop_(stop), line_(line), context_(context) {}

  // Waits for all ranks; then whether they go on with another step. Errors: the barrier's.
  StatusOr<bool> Next() {
    if (stopped_) return false;
    if (context_.rank() == 0 && stop_ && stop_()) line_.Draw(step_);
    TP_RETURN_IF_ERROR(context_.Barrier());
    stopped_ = line_.Reached(step_++);
    return !stopped_;
  }
  bool stopped() const { return stopped_; }

 private:
  const std::function<bool()>& stop_;
  StopLine& line_;
  RankContext& context_;
  int64_t step_ = 0;
  bool stopped_ = false;
};

}  // namespace tp
