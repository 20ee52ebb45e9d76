#include "tp/runtime/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

namespace tp {

Status FileError(const std::string& path, const std::string& what, int error) {
  std::string message = path + ": " + what + ": " + std::generic_category().message(error);
  if (error == ENOENT) return NotFound(std::move(message));
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) {
    return Unavailable(std::move(message) + "; free some space or choose another place");
  }
  return error == EIO ? Internal(std::move(message)) : InvalidArgument(std::move(message));
}

File::File(std::string path, int flags)
    : path_(std::move(path)), fd_(open(path_.c_str(), flags | O_CLOEXEC, 0666)) {
  if (fd_ < 0) error_ = errno;
}

File::~File() {
  if (fd_ >= 0) close(fd_);
}

Status File::opened(const std::string& what) const {
  return fd_ < 0 ? FileError(path_, what, error_) : OkStatus();
}

Status File::WriteAt(int64_t at, std::span<const std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t written = pwrite(fd_, bytes.data(), bytes.size(), at);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return FileError(path_, "cannot be written", errno);
    bytes = bytes.subspan(static_cast<size_t>(written));
    at += written;
  }
  return OkStatus();
}

Status File::ReadAt(int64_t at, std::span<std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t read = pread(fd_, bytes.data(), bytes.size(), at);
    if (read < 0 && errno == EINTR) continue;
    if (read < 0) return FileError(path_, "cannot be read", errno);
    if (read == 0) return InvalidArgument(path_ + ": ends at byte " + std::to_string(at));
    bytes = bytes.subspan(static_cast<size_t>(read));
    at += read;
  }
  return OkStatus();
}

Status File::SetSize(int64_t size) const {
  return ftruncate(fd_, size) == 0 ? OkStatus() : FileError(path_, "cannot be made", errno);
}

StatusOr<int64_t> File::Size() const {
  struct stat info;
  if (fstat(fd_, &info) != 0) return FileError(path_, "cannot be read", errno);
  return static_cast<int64_t>(info.st_size);
}

Status File::Sync() const {
  return fsync(fd_) == 0 ? OkStatus() : FileError(path_, "cannot be written", errno);
}

}  // namespace tp
