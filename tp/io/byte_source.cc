#include "tp/io/byte_source.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <glog/logging.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "tp/io/system_error.h"

namespace tp::io {
namespace {

class FileSource : public ByteSource {
 public:
  FileSource(std::string path, int fd) : ByteSource(std::move(path)), fd_(fd) {}
  ~FileSource() override { close(fd_); }

  Status FindSize() {
    struct stat info;
    if (fstat(fd_, &info) != 0) return SystemError(name(), "cannot be read", errno);
    if (S_ISDIR(info.st_mode)) {
      return InvalidArgument(fmt::format("{}: is a folder; a file is needed", name()));
    }
    if (!S_ISREG(info.st_mode)) {
      return InvalidArgument(fmt::format("{}: is not a regular file", name()));
    }
    size_ = info.st_size;
    return OkStatus();
  }

  int64_t size() const override { return size_; }

  Status Read(int64_t offset, std::span<std::byte> out) const override {
    CHECK_LE(out.size(), static_cast<size_t>(size_ - offset)) << "read beyond the end";
    while (!out.empty()) {
      const ssize_t count = pread(fd_, out.data(), out.size(), offset);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return SystemError(name(), "cannot be read", errno);
      if (count == 0) {
        return InvalidArgument(fmt::format("{}: shrank while it was read", name()));
      }
      out = out.subspan(static_cast<size_t>(count));
      offset += count;
    }
    return OkStatus();
  }

 private:
  int fd_;
  int64_t size_ = 0;
};

}  // namespace

Status MemorySource::Read(int64_t offset, std::span<std::byte> out) const {
  CHECK_LE(out.size(), bytes_.size() - static_cast<size_t>(offset)) << "read beyond the end";
  std::ranges::copy(bytes_.subspan(static_cast<size_t>(offset), out.size()), out.begin());
  return OkStatus();
}

StatusOr<std::unique_ptr<ByteSource>> OpenFile(const std::string& path) {
  if (path.empty()) return InvalidArgument("an input path is empty");
  // Non-blocking, so that a named pipe is refused rather than waited for.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return SystemError(path, "cannot be read", errno);
  auto file = std::make_unique<FileSource>(path, fd);
  TP_RETURN_IF_ERROR(file->FindSize());
  return std::unique_ptr<ByteSource>(std::move(file));
}

}  // namespace tp::io
