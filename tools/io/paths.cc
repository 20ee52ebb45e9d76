#include "tools/io/paths.h"

#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <system_error>

#include "fmt/format.h"
#include "tp/io/atomic_file.h"

namespace tp::io {
namespace {

// What tells a file from others: its number where it is there, else its path.
std::string IdentityOf(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) == 0) return fmt::format("{}:{}", info.st_dev, info.st_ino);
  std::error_code error;
  const auto absolute = std::filesystem::absolute(BehindLinks(path), error);
  const auto canonical = std::filesystem::weakly_canonical(absolute, error);
  return error ? absolute.string() : canonical.string();
}

Status BothName(const std::string& first, const std::string& second, const std::string& path) {
  return InvalidArgument(
      fmt::format("{} and {} both name {}, where one would overwrite the other; give each its own "
                  "file",
                  first, second, path));
}

}  // namespace

std::string ResolvePath(std::string_view path) {
  const char* folder = std::getenv("BUILD_WORKING_DIRECTORY");
  if (path.empty() || folder == nullptr) return std::string(path);
  return (std::filesystem::path(folder) / path).string();  // an absolute path replaces the folder
}

bool Exists(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0;
}

Status CheckDistinct(const std::vector<NamedFile>& outputs, const std::vector<NamedFile>& inputs) {
  std::map<std::string, const NamedFile*> read, written;
  for (const NamedFile& input : inputs) {
    if (!input.path.empty()) read.emplace(IdentityOf(input.path), &input);
  }
  for (const NamedFile& output : outputs) {
    if (output.path.empty() || IsStream(output.path)) continue;
    const std::string file = IdentityOf(output.path);
    if (const auto input = read.find(file); input != read.end()) {
      return InvalidArgument(
          fmt::format("{} would overwrite {}, which {} names, too; give it another file",
                      output.flag, output.path, input->second->flag));
    }
    const auto [other, first] = written.emplace(file, &output);
    if (!first) return BothName(other->second->flag, output.flag, output.path);
  }
  for (const NamedFile& output : outputs) {
    std::filesystem::path folder = std::filesystem::path(output.path).parent_path();
    for (; !folder.empty() && !Exists(folder); folder = folder.parent_path()) {
      const auto file = written.find(IdentityOf(folder));
      if (file == written.end()) continue;
      return BothName(file->second->flag, output.flag, file->second->path);
    }
  }
  return OkStatus();
}

}  // namespace tp::io
