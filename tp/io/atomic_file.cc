#include "tp/io/atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "tp/io/system_error.h"

namespace tp::io {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() { Close(); }

  int get() const { return fd_; }
  // The errno of close, where a network file system may only now say that the disk is full; or 0.
  int Close() {
    const int fd = std::exchange(fd_, -1);
    return fd >= 0 && close(fd) != 0 && errno != EINTR ? errno : 0;
  }

 private:
  int fd_;
};

struct Target {
  std::string given;           // as the caller spelled it, for errors
  std::string path;            // the file itself, links followed
  std::string directory;       // where it lies
  bool stream = false;         // to be written straight
  std::optional<mode_t> mode;  // of the file to be replaced
};

// Of a path that names a descriptor of this process.
std::optional<int> OwnDescriptor(std::string_view path) {
  if (path == "/dev/stdout") return STDOUT_FILENO;
  if (path == "/dev/stderr") return STDERR_FILENO;
  for (const std::string_view folder : {"/dev/fd/", "/proc/self/fd/"}) {
    if (!path.starts_with(folder)) continue;
    int number = -1;
    const char* const end = path.data() + path.size();
    const auto [rest, error] = std::from_chars(path.data() + folder.size(), end, number);
    if (error == std::errc() && rest == end && number >= 0) return number;
  }
  return std::nullopt;
}

StatusOr<Target> FindTarget(const std::string& path) {
  if (path.empty()) return InvalidArgument("an output path is empty");
  Target target;
  target.given = path;
  target.path = path;
  target.stream = OwnDescriptor(path).has_value() || path.starts_with("/proc/");
  struct stat info;
  if (stat(path.c_str(), &info) == 0) {
    if (S_ISDIR(info.st_mode)) {
      return InvalidArgument(fmt::format("{}: is a folder; the path of a file is needed", path));
    }
    if (access(path.c_str(), W_OK) != 0) return SystemError(path, "cannot be written", errno);
    target.stream = target.stream || !S_ISREG(info.st_mode);
    if (target.stream) return target;
    target.mode = info.st_mode & 07777;
    std::error_code error;
    target.path = std::filesystem::canonical(path, error).string();
    if (error) return SystemError(path, "cannot be written", error.value());
  } else if (errno != ENOENT) {
    return SystemError(path, "cannot be written", errno);
  } else {
    target.path = BehindLinks(path);
  }
  const std::filesystem::path parent = std::filesystem::path(target.path).parent_path();
  target.directory = parent.empty() ? "." : parent.string();
  return target;
}

// A new file beside the target, gone again unless it has been moved onto it.
class TemporaryFile {
 public:
  static StatusOr<TemporaryFile> Create(const Target& target) {
    static std::atomic<uint64_t> counter = 0;
    // Cut, so that the temporary name of a long name is not too long for the file system.
    const std::string base = std::filesystem::path(target.path).filename().string().substr(0, 200);
    while (true) {
      std::string path = fmt::format("{}/.{}.{}-{}.tmp", target.directory, base, getpid(),
                                     counter.fetch_add(1, std::memory_order_relaxed));
      const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      if (fd >= 0) return TemporaryFile(std::move(path), fd);
      if (errno == EEXIST || errno == EINTR) continue;
      return SystemError(target.given,
                         fmt::format("cannot be written in folder {}", target.directory), errno);
    }
  }
  TemporaryFile(TemporaryFile&& other) noexcept
      : path_(std::exchange(other.path_, "")), descriptor_(std::move(other.descriptor_)) {}
  TemporaryFile& operator=(TemporaryFile&&) = delete;
  ~TemporaryFile() {
    if (!path_.empty()) unlink(path_.c_str());
  }

  int fd() const { return descriptor_.get(); }

  Status MoveTo(const Target& target) {
    if (target.mode.has_value() && fchmod(fd(), *target.mode) != 0) {
      return SystemError(target.given, "its permissions cannot be kept", errno);
    }
    if (fsync(fd()) != 0) return SystemError(target.given, "cannot be written", errno);
    if (const int error = descriptor_.Close(); error != 0) {
      return SystemError(target.given, "cannot be written", error);
    }
    if (rename(path_.c_str(), target.path.c_str()) != 0) {
      return SystemError(target.given, "cannot be replaced", errno);
    }
    path_.clear();
    return OkStatus();
  }

 private:
  TemporaryFile(std::string path, int fd) : path_(std::move(path)), descriptor_(fd) {}

  std::string path_;
  Descriptor descriptor_;
};

Status WriteAll(int fd, const std::string& path, std::string_view contents) {
  while (!contents.empty()) {
    const ssize_t written = write(fd, contents.data(), contents.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return SystemError(path, "cannot be written", errno);
    contents.remove_prefix(static_cast<size_t>(written));
  }
  return OkStatus();
}

Status WriteStream(const std::string& path, std::string_view contents) {
  Descriptor descriptor(OpenToAppend(path));
  if (descriptor.get() < 0) return SystemError(path, "cannot be opened for writing", errno);
  TP_RETURN_IF_ERROR(WriteAll(descriptor.get(), path, contents));
  const int error = descriptor.Close();
  return error == 0 ? OkStatus() : SystemError(path, "cannot be written", error);
}

}  // namespace

Status WriteFileAtomically(const std::string& path, std::string_view contents) {
  TP_ASSIGN_OR_RETURN(const Target target, FindTarget(path));
  if (target.stream) return WriteStream(path, contents);
  TP_ASSIGN_OR_RETURN(TemporaryFile file, TemporaryFile::Create(target));
  TP_RETURN_IF_ERROR(WriteAll(file.fd(), path, contents));
  TP_RETURN_IF_ERROR(file.MoveTo(target));
  // The file is complete; this makes its name survive a power cut, where the file system can.
  Descriptor directory(open(target.directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() >= 0) fsync(directory.get());
  return OkStatus();
}

std::string BehindLinks(const std::string& path) {
  constexpr int kMostLinks = 40;  // the system's own limit; a loop of links leads nowhere
  std::filesystem::path file = path;
  std::error_code error;
  for (int links = 0; links < kMostLinks; ++links) {
    if (!std::filesystem::is_symlink(std::filesystem::symlink_status(file, error))) break;
    file = file.parent_path() / std::filesystem::read_symlink(file, error);
    if (error) break;
  }
  return file.string();
}

bool IsStream(const std::string& path) {
  const StatusOr<Target> target = FindTarget(path);
  return target.ok() && target->stream;
}

int OpenToAppend(const std::string& path) {
  const std::optional<int> own = OwnDescriptor(path);
  return own ? fcntl(*own, F_DUPFD_CLOEXEC, 0)
             : open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
}

Status CheckWritable(const std::string& path) {
  TP_ASSIGN_OR_RETURN(const Target target, FindTarget(path));
  // A stream's reader would take an open and close for the end.
  if (target.stream) return OkStatus();
  return TemporaryFile::Create(target).status();
}

Status CreateDirectories(const std::string& path) {
  if (path.empty()) return InvalidArgument("an output folder's path is empty");
  std::filesystem::path prefix;
  for (const std::filesystem::path& part : std::filesystem::path(path)) {
    prefix /= part;
    struct stat info;
    if (stat(prefix.c_str(), &info) == 0) {
      if (S_ISDIR(info.st_mode)) continue;
      return InvalidArgument(
          fmt::format("{}: cannot be made: {} is not a folder", path, prefix.string()));
    }
    // Another process may make the same folder at the same time.
    if (mkdir(prefix.c_str(), 0777) != 0 && errno != EEXIST) {
      return SystemError(path, fmt::format("folder {} cannot be made", prefix.string()), errno);
    }
  }
  return OkStatus();
}

}  // namespace tp::io
