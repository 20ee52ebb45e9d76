// How much memory this process can still have.
#pragma once

#include <optional>
#include <string>

namespace tp::io {

struct AvailableMemory {
  double bytes = 0;
  std::string limited_by;  // "the machine", "the memory cgroup", "the limit on address space"
};

// The least of what the machine, its memory cgroups (version 1 or 2, and those around them) and the
// limits on the process leave; none where none of them says. Files are read below `root`.
std::optional<AvailableMemory> MemoryAvailable(const std::string& root = "");

}  // namespace tp::io
