#include "tp/runtime/checkpoint.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <filesystem>
#include <span>
#include <system_error>
#include <utility>

#include "tp/core/dtype.h"
#include "tp/runtime/assemble.h"
#include "tp/runtime/blob.h"
#include "tp/runtime/parts.h"

namespace tp {
namespace {

namespace fs = std::filesystem;

Status FileError(const std::string& path, const std::string& what, int error) {
  std::string message = path + ": " + what + ": " + std::generic_category().message(error);
  if (error == ENOENT) return NotFound(std::move(message));
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) return Unavailable(std::move(message));
  return error == EIO ? Internal(std::move(message)) : InvalidArgument(std::move(message));
}

// Tells every rank of the first error that one of them met, in the order of the ranks.
Status Agree(RankContext& context, Status& told) {
  BlobWriter mine;
  mine.Number(static_cast<int64_t>(told.code()));
  mine.Text(told.message());
  TP_ASSIGN_OR_RETURN(const std::vector<std::string> all, context.GatherToAll(mine.Take()));
  told = OkStatus();
  for (size_t rank = 0; rank < all.size() && told.ok(); ++rank) {
    BlobReader blob(all[rank]);
    const auto code = static_cast<StatusCode>(blob.Int());
    const std::string message = blob.Text();
    if (code == StatusCode::kOk) continue;
    told = Status(code, rank == 0 ? message : "rank " + std::to_string(rank) + ": " + message);
  }
  return OkStatus();
}

// The type of a file's elements.
DType FileTypeOf(DType dtype) {
  return dtype == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32;
}

// All that is before a file's elements: the format's version 1.0.
// Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
std::string HeaderOf(const Binding& binding) {
  constexpr size_t kAlignment = 64;
  std::string sizes;
  for (int64_t size : binding.shape) sizes += std::to_string(size) + ", ";
  if (binding.shape.size() > 1) sizes.resize(sizes.size() - 2);
  if (binding.shape.size() == 1) sizes.pop_back();
  std::string text = "{'descr': '<f" + std::to_string(SizeOf(FileTypeOf(binding.dtype))) +
                     "', 'fortran_order': False, 'shape': (" + sizes + "), }";
  const std::string magic("\x93NUMPY\x01\x00", 8);
  const size_t unpadded = magic.size() + 2 + text.size() + 1;
  text.append((kAlignment - unpadded % kAlignment) % kAlignment, ' ');
  text += '\n';
  return magic + static_cast<char>(text.size() & 0xff) + static_cast<char>(text.size() >> 8) + text;
}

int64_t FileSizeOf(const Binding& binding) {
  return static_cast<int64_t>(HeaderOf(binding).size()) +
         NumElements(binding.shape) * SizeOf(FileTypeOf(binding.dtype));
}

// A file that is closed when this goes.
class File {
 public:
  File(std::string path, int flags)
      : path_(std::move(path)), fd_(open(path_.c_str(), flags | O_CLOEXEC, 0666)) {
    if (fd_ < 0) error_ = errno;
  }
  ~File() {
    if (fd_ >= 0) close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  Status opened(const std::string& what) const {
    return fd_ < 0 ? FileError(path_, what, error_) : OkStatus();
  }

  Status WriteAt(int64_t at, std::span<const std::byte> bytes) const {
    while (!bytes.empty()) {
      const ssize_t written = pwrite(fd_, bytes.data(), bytes.size(), at);
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return FileError(path_, "cannot be written", errno);
      bytes = bytes.subspan(static_cast<size_t>(written));
      at += written;
    }
    return OkStatus();
  }

  Status ReadAt(int64_t at, std::span<std::byte> bytes) const {
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

  Status SetSize(int64_t size) const {
    return ftruncate(fd_, size) == 0 ? OkStatus() : FileError(path_, "cannot be made", errno);
  }

  StatusOr<int64_t> Size() const {
    struct stat info;
    if (fstat(fd_, &info) != 0) return FileError(path_, "cannot be read", errno);
    return static_cast<int64_t>(info.st_size);
  }

  Status Sync() const {
    return fsync(fd_) == 0 ? OkStatus() : FileError(path_, "cannot be written", errno);
  }

 private:
  const std::string path_;
  const int fd_;
  int error_ = 0;
};

std::string PathOf(const std::string& folder, const Binding& binding) {
  return folder + "/" + binding.name + ".npy";
}

Status SyncFolder(const std::string& path) {
  const File folder(path, O_RDONLY | O_DIRECTORY);
  TP_RETURN_IF_ERROR(folder.opened("cannot be opened"));
  return folder.Sync();
}

// Without a slash at the end, which would change what names beside it are.
StatusOr<std::string> PlainPath(const std::string& folder) {
  std::string path = folder;
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  if (path.empty() || path == "/") return InvalidArgument("'" + folder + "' can't be a checkpoint");
  return path;
}

// Whether the folder holds nothing but files of these parameters; one that is missing does.
Status CheckReplaceable(const std::string& path, const RankParts& rank) {
  std::error_code error;
  if (!fs::exists(fs::symlink_status(path, error))) return OkStatus();
  if (!fs::is_directory(fs::symlink_status(path, error))) {
    return InvalidArgument(path + ": is not a folder; choose another name");
  }
  for (const auto& entry : fs::directory_iterator(path, error)) {
    const std::string name = entry.path().filename().string();
    const bool known =
        std::any_of(rank.parameters.begin(), rank.parameters.end(),
                    [&](const Binding* binding) { return name == binding->name + ".npy"; });
    if (known) continue;
    return InvalidArgument(path + ": holds '" + name +
                           "', which is no parameter's file, and would be replaced; choose another "
                           "folder");
  }
  return error ? FileError(path, "cannot be read", error.value()) : OkStatus();
}

// Removes a folder that CheckReplaceable allows.
Status RemoveFolder(const std::string& path, const RankParts& rank) {
  for (const Binding* binding : rank.parameters) {
    if (unlink(PathOf(path, *binding).c_str()) != 0 && errno != ENOENT) {
      return FileError(PathOf(path, *binding), "cannot be removed", errno);
    }
  }
  if (rmdir(path.c_str()) != 0 && errno != ENOENT) {
    return FileError(path, "cannot be removed", errno);
  }
  return OkStatus();
}

// On rank 0: files of the right sizes, all zero behind their headers.
Status MakeFiles(const std::string& path, const std::string& part, const RankParts& rank) {
  for (const Binding* binding : rank.parameters) {
    if (binding->name.find('/') == std::string::npos) continue;
    return InvalidArgument("parameter '" + binding->name + "' has a name that no file can have");
  }
  TP_RETURN_IF_ERROR(CheckReplaceable(path, rank));
  TP_RETURN_IF_ERROR(CheckReplaceable(part, rank));
  TP_RETURN_IF_ERROR(RemoveFolder(part, rank));
  if (mkdir(part.c_str(), 0777) != 0) return FileError(part, "cannot be made", errno);
  for (const Binding* binding : rank.parameters) {
    const File file(PathOf(part, *binding), O_WRONLY | O_CREAT | O_EXCL);
    TP_RETURN_IF_ERROR(file.opened("cannot be made"));
    TP_RETURN_IF_ERROR(file.SetSize(FileSizeOf(*binding)));
    const std::string header = HeaderOf(*binding);
    TP_RETURN_IF_ERROR(file.WriteAt(0, std::as_bytes(std::span(header))));
    TP_RETURN_IF_ERROR(file.Sync());
  }
  return OkStatus();
}

// Whether no rank before this one has the same part.
bool IsFirstWith(const Binding& binding, const RankParts& rank) {
  for (Axis axis : kAllAxes) {
    const int coordinate = rank.mesh.Coordinate(rank.context.rank(), axis);
    if (IsReplicate(binding.placements[axis]) && coordinate > 0) return false;
  }
  return true;
}

// Elements in another type that holds them all.
std::vector<std::byte> Converted(std::span<const std::byte> bytes, DType from, DType to) {
  std::vector<double> values(bytes.size() / SizeOf(from));
  DecodeToDouble(from, bytes, values);
  std::vector<std::byte> converted(values.size() * SizeOf(to));
  EncodeFromDouble(to, values, converted);
  return converted;
}

Status WriteElements(const std::string& part, const Binding& binding,
                     std::vector<std::byte> elements) {
  const DType type = FileTypeOf(binding.dtype);
  if (type != binding.dtype) elements = Converted(elements, binding.dtype, type);
  const File file(PathOf(part, binding), O_WRONLY);
  TP_RETURN_IF_ERROR(file.opened("cannot be opened"));
  const auto begin = static_cast<int64_t>(HeaderOf(binding).size());
  const int64_t width = SizeOf(type);
  Status status;
  ForEachRun(binding, [&](int64_t to, int64_t from, int64_t count) {
    if (!status.ok()) return;
    status =
        file.WriteAt(begin + to * width, std::span(elements).subspan(from * width, count * width));
  });
  TP_RETURN_IF_ERROR(status);
  return file.Sync();
}

// On rank 0: the last step, which other eyes see whole or not at all.
Status GiveName(const std::string& path, const std::string& part, const RankParts& rank) {
  TP_RETURN_IF_ERROR(SyncFolder(part));
  if (rename(part.c_str(), path.c_str()) != 0) {
    const bool there = errno == ENOTEMPTY || errno == EEXIST;
    if (!there) return FileError(path, "cannot be replaced", errno);
    if (renameat2(AT_FDCWD, part.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) != 0) {
      return FileError(path, "cannot be replaced on this file system, only made anew", errno);
    }
  }
  const std::string parent = fs::path(path).parent_path().string();
  TP_RETURN_IF_ERROR(SyncFolder(parent.empty() ? "." : parent));
  return RemoveFolder(part, rank);
}

// The text of a header, as a person reads it.
std::string TextOf(const std::string& header) {
  const size_t end = header.find_last_not_of(" \n");
  return header.substr(10, end == std::string::npos ? 0 : end + 1 - 10);
}

Status CheckHeader(const std::string& path, const File& file, const Binding& binding) {
  const std::string expected = HeaderOf(binding);
  TP_ASSIGN_OR_RETURN(const int64_t size, file.Size());
  std::string actual(std::min(static_cast<size_t>(size), expected.size()), '\0');
  TP_RETURN_IF_ERROR(file.ReadAt(0, std::as_writable_bytes(std::span(actual))));
  if (actual != expected) {
    if (actual.size() < 10 || actual.substr(0, 8) != expected.substr(0, 8)) {
      return InvalidArgument(path + ": is no .npy file of version 1.0");
    }
    std::string text = TextOf(actual);
    for (char& c : text) c = c >= ' ' && c <= '~' ? c : '?';
    return InvalidArgument(path + ": says " + text + ", and '" + binding.name + "' needs " +
                           TextOf(expected));
  }
  if (size != FileSizeOf(binding)) {
    return InvalidArgument(path + ": has " + std::to_string(size) + " bytes and should have " +
                           std::to_string(FileSizeOf(binding)) + "; it is not whole");
  }
  return OkStatus();
}

// Whether `part` holds what the file did: where the file's type is the wider one it may not.
Status CheckExact(const std::string& path, const Binding& binding,
                  std::span<const std::byte> elements, std::span<const std::byte> part) {
  const int64_t count = binding.view.size();
  std::vector<double> in_file(count), here(count);
  DecodeToDouble(FileTypeOf(binding.dtype), elements, in_file);
  DecodeToDouble(binding.dtype, part, here);
  for (int64_t i = 0; i < count; ++i) {
    if (in_file[i] == here[i] || (std::isnan(in_file[i]) && std::isnan(here[i]))) continue;
    return InvalidArgument(path + ": holds " + std::to_string(in_file[i]) + ", which is no " +
                           std::string(Name(binding.dtype)) + ", the type of '" + binding.name +
                           "'");
  }
  return OkStatus();
}

StatusOr<std::vector<std::byte>> ReadElements(const std::string& folder, const Binding& binding) {
  const std::string path = PathOf(folder, binding);
  const File file(path, O_RDONLY);
  TP_RETURN_IF_ERROR(file.opened("cannot be read"));
  TP_RETURN_IF_ERROR(CheckHeader(path, file, binding));
  const DType type = FileTypeOf(binding.dtype);
  const int64_t width = SizeOf(type);
  const auto begin = static_cast<int64_t>(HeaderOf(binding).size());
  std::vector<std::byte> elements(binding.view.size() * width);
  Status status;
  ForEachRun(binding, [&](int64_t from, int64_t to, int64_t count) {
    if (!status.ok()) return;
    status =
        file.ReadAt(begin + from * width, std::span(elements).subspan(to * width, count * width));
  });
  TP_RETURN_IF_ERROR(status.WithContext(path));
  if (type == binding.dtype) return elements;
  std::vector<std::byte> part = Converted(elements, type, binding.dtype);
  TP_RETURN_IF_ERROR(CheckExact(path, binding, elements, part));
  return part;
}

}  // namespace

Status SaveParts(const RankParts& rank, const std::string& folder, Status& told) {
  const StatusOr<std::string> path = PlainPath(folder);
  told = path.status();
  if (!told.ok()) return OkStatus();  // on every rank
  const std::string part = *path + ".part";
  if (rank.context.rank() == 0) told = MakeFiles(*path, part, rank);
  TP_RETURN_IF_ERROR(Agree(rank.context, told));
  if (!told.ok()) return OkStatus();
  for (const Binding* binding : rank.parameters) {
    if (!IsFirstWith(*binding, rank)) continue;
    TP_ASSIGN_OR_RETURN(std::vector<std::byte> elements,
                        ReadPart(rank.executor, rank.schedule, *binding));
    if (told.ok()) told = WriteElements(part, *binding, std::move(elements));
  }
  TP_RETURN_IF_ERROR(Agree(rank.context, told));
  if (rank.context.rank() == 0 && told.ok()) told = GiveName(*path, part, rank);
  return Agree(rank.context, told);
}

Status LoadParts(const RankParts& rank, const std::string& folder, Status& told) {
  std::vector<std::vector<std::byte>> parts;
  told = OkStatus();
  for (const Binding* binding : rank.parameters) {
    if (!told.ok()) break;
    StatusOr<std::vector<std::byte>> part = ReadElements(folder, *binding);
    told = part.status();
    if (part.ok()) parts.push_back(*std::move(part));
  }
  TP_RETURN_IF_ERROR(Agree(rank.context, told));
  if (!told.ok()) return OkStatus();
  for (size_t i = 0; i < parts.size(); ++i) {
    const Fill fill = [&](const Binding& binding, std::span<std::byte> image) {
      InsertLocal(binding, parts[i], image);
    };
    TP_RETURN_IF_ERROR(WritePart(rank.executor, rank.schedule, *rank.parameters[i], fill));
  }
  return OkStatus();
}

}  // namespace tp
