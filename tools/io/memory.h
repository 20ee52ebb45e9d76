// How much memory this process can still have.
#pragma once

#include <optional>
#include <string>

#include "tp/core/status.h"

namespace tp::io {

struct AvailableMemory {
  double bytes = 0;
  std::string limited_by;  // "the machine", "the memory cgroup", "the limit on address space"
};

// The least of what the machine, its memory cgroups (version 1 or 2, and those around them) and the
// limits on the process leave; none where none of them says. Files are read below `root`.
std::optional<AvailableMemory> MemoryAvailable(const std::string& root = "");

// Refuses what cannot fit, because the system would rather kill the process than refuse itself.
// `what` needs `bytes`, as in "3 matrices of 4 KiB"; `advice` is what to do. UNAVAILABLE.
Status CheckFits(double bytes, const std::string& what, const std::string& advice);

}  // namespace tp::io
