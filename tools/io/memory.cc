#include "tools/io/memory.h"

#include <malloc.h>

#include <cmath>
#include <optional>

#include "fmt/format.h"
#include "tools/io/table.h"
#include "tp/io/available_memory.h"

namespace tp::io {

Status CheckFits(double bytes, const std::string& what, const std::string& advice) {
  const std::optional<AvailableMemory> available = MemoryAvailable();
  if (!available || bytes <= available->bytes) return OkStatus();
  return Unavailable(fmt::format("{} need about {} of memory, and {} leaves {}; {}", what,
                                 FormatBytes(std::llround(bytes)), available->limited_by,
                                 FormatBytes(std::llround(available->bytes)), advice));
}

void ReturnFreedMemory() {
  // Smaller blocks come and go with every step that is looked at, and a map for each costs time.
  constexpr int kBytesOfLargeBlock = 8 << 20;
  mallopt(M_MMAP_THRESHOLD, kBytesOfLargeBlock);
  mallopt(M_TRIM_THRESHOLD, kBytesKeptByThread);
}

}  // namespace tp::io
