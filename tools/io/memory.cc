#include "tools/io/memory.h"

#include <fstream>
#include <string>

namespace tp::io {

std::optional<double> AvailableMemoryBytes() {
  std::ifstream file("/proc/meminfo");
  std::string word;
  double kilobytes = 0;
  while (file >> word) {
    if (word == "MemAvailable:" && file >> kilobytes) return kilobytes * 1024;
  }
  return std::nullopt;
}

}  // namespace tp::io
