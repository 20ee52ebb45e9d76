#include "tools/io/paths.h"

#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>

namespace tp::io {

std::string ResolvePath(std::string_view path) {
  const char* folder = std::getenv("BUILD_WORKING_DIRECTORY");
  if (path.empty() || folder == nullptr) return std::string(path);
  return (std::filesystem::path(folder) / path).string();  // an absolute path replaces the folder
}

bool Exists(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0;
}

}  // namespace tp::io
