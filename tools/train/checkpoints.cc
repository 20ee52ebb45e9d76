#include "tools/train/checkpoints.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <filesystem>
#include <string_view>
#include <system_error>

#include "tp/io/system_error.h"

namespace tp::train {
namespace {

constexpr std::string_view kPrefix = "step-";

}  // namespace

std::string CheckpointAt(const std::string& folder, int64_t step) {
  return folder + "/" + std::string(kPrefix) + std::to_string(step);
}

std::optional<int64_t> NewestCheckpoint(const std::string& folder) {
  std::optional<int64_t> newest;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kPrefix) || !entry.is_directory(error)) continue;
    int64_t step = 0;
    const char* const end = name.data() + name.size();
    const auto parsed = std::from_chars(name.data() + kPrefix.size(), end, step);
    if (parsed.ec != std::errc() || parsed.ptr != end)
      continue;  // one that was cut short, or others'
    if (!newest || *newest < step) newest = step;
  }
  return newest;
}

Status CheckTakesCheckpoints(const std::string& folder) {
  const std::string probe = folder + "/.takes-checkpoints";
  std::error_code error;
  std::filesystem::create_directory(probe, error);
  if (error)
    return InvalidArgument(folder + ": no checkpoint can be made in it: " + error.message());
  std::filesystem::remove(probe, error);
  return OkStatus();
}

StatusOr<std::unique_ptr<FolderLock>> FolderLock::Take(const std::string& folder) {
  const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return io::SystemError(folder, "can't be opened", errno);
  std::unique_ptr<FolderLock> lock(new FolderLock(descriptor));
  // A file system without locks goes without.
  if (flock(descriptor, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return lock;
  return FailedPrecondition(folder +
                            ": another run writes its checkpoints to it; wait for its end, or "
                            "take another folder with --save");
}

FolderLock::~FolderLock() { close(descriptor_); }

Status RemoveCheckpoint(const std::string& folder, int64_t step) {
  const std::string path = CheckpointAt(folder, step);
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (!error) return OkStatus();
  return InvalidArgument(path + ": can't be removed: " + error.message());
}

}  // namespace tp::train
