#include "tp/io/available_memory.h"

#include <sys/resource.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <sstream>

namespace tp::io {
namespace {

// The number after `word` in a file of words and numbers.
std::optional<double> NumberAfter(const std::string& path, const std::string& word) {
  std::ifstream file(path);
  for (std::string read; file >> read;) {
    double number = 0;
    if (read == word && file >> number) return number;
  }
  return std::nullopt;
}

// The number that a file holds; none where it holds "max".
std::optional<double> NumberIn(const std::string& path) {
  std::ifstream file(path);
  double number = 0;
  if (file >> number) return number;
  return std::nullopt;
}

void Consider(std::optional<double> bytes, const char* limited_by,
              std::optional<AvailableMemory>& least) {
  if (!bytes || (least && least->bytes <= *bytes)) return;
  least = AvailableMemory{std::max(0.0, *bytes), limited_by};
}

// How the two versions of cgroups name what they say.
struct CgroupFiles {
  const char* folder;
  const char* limit;
  const char* usage;
  const char* reclaimable;  // in memory.stat
};
constexpr CgroupFiles kVersion1 = {"/sys/fs/cgroup/memory", "memory.limit_in_bytes",
                                   "memory.usage_in_bytes", "total_inactive_file"};
constexpr CgroupFiles kVersion2 = {"/sys/fs/cgroup", "memory.max", "memory.current",
                                   "inactive_file"};

// What the cgroup at `path` and those around it leave. In a container the path may be that of the
// host, of which nothing but the root is seen.
void ConsiderCgroups(const std::string& root, const CgroupFiles& files, std::string path,
                     std::optional<AvailableMemory>& least) {
  while (true) {
    const std::string folder = root + files.folder + path + "/";
    const std::optional<double> limit = NumberIn(folder + files.limit);
    const std::optional<double> usage = NumberIn(folder + files.usage);
    if (limit && usage) {
      const double reclaimable = NumberAfter(folder + "memory.stat", files.reclaimable).value_or(0);
      Consider(*limit - *usage + reclaimable, "the memory cgroup", least);
    }
    if (path.empty() || path == "/") return;
    path.resize(path.find_last_of('/'));
  }
}

// What a limit on the process leaves, of which it uses the words of /proc/self/status.
void ConsiderLimit(int resource, const char* used, const char* limited_by, const std::string& root,
                   std::optional<AvailableMemory>& least) {
  rlimit limit = {};
  if (getrlimit(static_cast<__rlimit_resource_t>(resource), &limit) != 0) return;
  if (limit.rlim_cur == RLIM_INFINITY) return;
  const double kilobytes = NumberAfter(root + "/proc/self/status", used).value_or(0);
  Consider(static_cast<double>(limit.rlim_cur) - kilobytes * 1024, limited_by, least);
}

}  // namespace

std::optional<AvailableMemory> MemoryAvailable(const std::string& root) {
  std::optional<AvailableMemory> least;
  if (const auto kilobytes = NumberAfter(root + "/proc/meminfo", "MemAvailable:")) {
    Consider(*kilobytes * 1024, "the machine", least);
  }
  std::ifstream groups(root + "/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "4:memory:/path", or "0::/path"
    std::istringstream parts(line);
    std::string id, controllers, path;
    std::getline(parts, id, ':');
    std::getline(parts, controllers, ':');
    std::getline(parts, path);
    if (("," + controllers + ",").find(",memory,") != std::string::npos) {
      ConsiderCgroups(root, kVersion1, path, least);
    } else if (controllers.empty()) {
      ConsiderCgroups(root, kVersion2, path, least);
    }
  }
  ConsiderLimit(RLIMIT_AS, "VmSize:", "the limit on address space", root, least);
  ConsiderLimit(RLIMIT_DATA, "VmData:", "the limit on data", root, least);
  return least;
}

}  // namespace tp::io
