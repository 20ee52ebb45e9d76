// Staging: what was fed to a rank and no step has taken yet, and where it is to go.
//
// One thread at a time: the rank's own while it feeds, then the worker that takes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "tp/core/status.h"
#include "tp/runtime/region.h"
#include "tp/schedule/schedule.h"

namespace tp::cpu {

class Staging {
 public:
  // Keeps a copy of `bytes`, packed, for `region`. Allocates where the region is new. Errors: see
  // Executor::Feed.
  Status Put(const Region& region, const Schedule& schedule, std::span<const std::byte> bytes);

  // Copies all that was put since the last time to its place; `buffer_of` gives a buffer's first
  // byte.
  void Take(const std::function<std::byte*(BufferId)>& buffer_of);

 private:
  struct Staged {
    std::vector<std::byte> bytes;
    bool fresh = false;  // put, and not taken
  };

  std::vector<Region> regions_;
  std::vector<Staged> staged_;  // by region
};

}  // namespace tp::cpu
