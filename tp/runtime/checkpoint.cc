#include "tp/runtime/checkpoint.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <system_error>
#include <utility>

#include "tp/core/dtype.h"
#include "tp/runtime/assemble.h"
#include "tp/runtime/blob.h"
#include "tp/runtime/file.h"
#include "tp/runtime/parts.h"

namespace tp {
namespace {

namespace fs = std::filesystem;

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

// Whether the folder holds nothing but files of this storage; one that is missing does.
Status CheckReplaceable(const std::string& path, const Storage& storage) {
  std::error_code error;
  if (!fs::exists(fs::symlink_status(path, error))) return OkStatus();
  if (!fs::is_directory(fs::symlink_status(path, error))) {
    return InvalidArgument(path + ": is not a folder; choose another name");
  }
  for (const auto& entry : fs::directory_iterator(path, error)) {
    const std::string name = entry.path().filename().string();
    const bool known = std::any_of(storage.files.begin(), storage.files.end(),
                                   [&](const StoredFile& file) { return name == file.name; });
    if (known) continue;
    return InvalidArgument(path + ": holds '" + name +
                           "', which is no file of this checkpoint, and would be replaced; choose "
                           "another folder");
  }
  return error ? FileError(path, "cannot be read", error.value()) : OkStatus();
}

// Removes a folder that CheckReplaceable allows.
Status RemoveFolder(const std::string& path, const Storage& storage) {
  for (const StoredFile& stored : storage.files) {
    const std::string file = path + "/" + stored.name;
    if (unlink(file.c_str()) != 0 && errno != ENOENT) {
      return FileError(file, "cannot be removed", errno);
    }
  }
  if (rmdir(path.c_str()) != 0 && errno != ENOENT) {
    return FileError(path, "cannot be removed", errno);
  }
  return OkStatus();
}

// Files of the right sizes, all zero behind their heads.
Status MakeFiles(const std::string& part, const Storage& storage) {
  for (const StoredFile& stored : storage.files) {
    const File file(part + "/" + stored.name, O_WRONLY | O_CREAT | O_EXCL);
    TP_RETURN_IF_ERROR(file.opened("cannot be made"));
    TP_RETURN_IF_ERROR(file.SetSize(stored.bytes));
    TP_RETURN_IF_ERROR(file.WriteAt(0, std::as_bytes(std::span(stored.head))));
    TP_RETURN_IF_ERROR(file.Sync());
  }
  return OkStatus();
}

// On rank 0: an empty folder with these files, or none.
Status MakeFolder(const std::string& path, const std::string& part, const Storage& storage) {
  TP_RETURN_IF_ERROR(CheckReplaceable(path, storage));
  TP_RETURN_IF_ERROR(CheckReplaceable(part, storage));
  TP_RETURN_IF_ERROR(RemoveFolder(part, storage));
  if (mkdir(part.c_str(), 0777) != 0) return FileError(part, "cannot be made", errno);
  const Status made = MakeFiles(part, storage);
  if (!made.ok()) static_cast<void>(RemoveFolder(part, storage));
  return made;
}

// Whether no rank before this one has the same part.
bool IsFirstWith(const Binding& binding, const RankParts& rank) {
  for (const Axis& axis : rank.mesh.axes()) {
    const int coordinate = rank.mesh.Coordinate(rank.context.rank(), axis);
    if (IsReplicate(binding.placements[axis]) && coordinate > 0) return false;
  }
  return true;
}

// On rank 0: the last step, which other eyes see whole or not at all.
Status GiveName(const std::string& path, const std::string& part, const Storage& storage) {
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
  return RemoveFolder(part, storage);
}

// The files of a storage that this rank has used, open.
class Files {
 public:
  Files(std::string folder, const Storage& storage, int flags)
      : folder_(std::move(folder)), storage_(storage), flags_(flags) {}

  std::string PathOf(size_t file) const { return folder_ + "/" + storage_.files[file].name; }

  StatusOr<const File*> Get(size_t file) {
    std::unique_ptr<File>& open = files_[file];
    if (open == nullptr) open = std::make_unique<File>(PathOf(file), flags_);
    TP_RETURN_IF_ERROR(open->opened("cannot be opened"));
    return open.get();
  }

  Status Sync() {
    for (const auto& [number, file] : files_) TP_RETURN_IF_ERROR(file->Sync());
    return OkStatus();
  }

 private:
  const std::string folder_;
  const Storage& storage_;
  const int flags_;
  std::map<size_t, std::unique_ptr<File>> files_;
};

// `count` elements of a file in memory, as they lie in it.
std::span<std::byte> Room(std::vector<std::byte>& memory, int64_t count, DType dtype) {
  const auto bytes = static_cast<size_t>(count * SizeOf(dtype));
  if (memory.size() < bytes) memory.resize(bytes);
  return std::span(memory).first(bytes);
}

// Calls `use` for the pieces of at most kPiece elements, which fit the nearest memory.
void ForEachPiece(int64_t count, const std::function<void(int64_t begin, int64_t count)>& use) {
  constexpr int64_t kPiece = 4096;
  for (int64_t begin = 0; begin < count; begin += kPiece) {
    use(begin, std::min(kPiece, count - begin));
  }
}

std::span<std::byte> Elements(std::span<std::byte> bytes, DType dtype, int64_t begin,
                              int64_t count) {
  return bytes.subspan(begin * SizeOf(dtype), count * SizeOf(dtype));
}

// Elements in another type, rounded; and how many of them changed by it, with one that did.
struct Rounded {
  int64_t count = 0;
  double example = 0;
};
Rounded Convert(DType from, std::span<std::byte> in, DType to, std::span<std::byte> out) {
  Rounded rounded;
  std::vector<double> before, after;
  ForEachPiece(static_cast<int64_t>(in.size()) / SizeOf(from), [&](int64_t begin, int64_t count) {
    before.resize(count);
    after.resize(count);
    DecodeToDouble(from, Elements(in, from, begin, count), before);
    EncodeFromDouble(to, before, Elements(out, to, begin, count));
    DecodeToDouble(to, Elements(out, to, begin, count), after);
    for (int64_t i = 0; i < count; ++i) {
      if (before[i] == after[i] || (std::isnan(before[i]) && std::isnan(after[i]))) continue;
      ++rounded.count;
      rounded.example = before[i];
    }
  });
  return rounded;
}

// Copies the elements of a block from the part, or to it.
void Gather(const View& places, int64_t width, std::span<const std::byte> part, std::byte* to) {
  ForEachElement(places, [&](const Index&, int64_t place) {
    std::memcpy(to, part.data() + place * width, width);
    to += width;
  });
}
void Scatter(const View& places, int64_t width, const std::byte* from, std::span<std::byte> part) {
  ForEachElement(places, [&](const Index&, int64_t place) {
    std::memcpy(part.data() + place * width, from, width);
    from += width;
  });
}

// Whether a block lies in the part as it does in the file, so that no memory between them is
// needed.
bool IsCopy(const StoredBlock& block, const StoredTensor& tensor, const Binding& binding) {
  return tensor.dtype == binding.dtype &&
         IsPacked(block.places, Order::Own(static_cast<size_t>(block.places.rank())));
}

// Its bytes in the part then.
template <typename Byte>
std::span<Byte> BytesIn(std::span<Byte> part, const StoredBlock& block, DType dtype) {
  return part.subspan(block.places.offset * SizeOf(dtype), block.places.size() * SizeOf(dtype));
}

Status WriteElements(const StoredTensor& tensor, const Binding& binding,
                     std::span<const std::byte> part, Files& files) {
  TP_ASSIGN_OR_RETURN(const File* file, files.Get(tensor.file));
  Status status;
  std::vector<std::byte> here, there;
  ForEachBlock(binding, tensor, [&](const StoredBlock& block) {
    if (!status.ok()) return;
    if (IsCopy(block, tensor, binding)) {
      status = file->WriteAt(block.begin, BytesIn(part, block, binding.dtype));
      return;
    }
    const int64_t count = block.places.size();
    std::span<std::byte> elements = Room(here, count, binding.dtype);
    Gather(block.places, SizeOf(binding.dtype), part, elements.data());
    if (tensor.dtype != binding.dtype) {
      Convert(binding.dtype, elements, tensor.dtype, Room(there, count, tensor.dtype));
      elements = Room(there, count, tensor.dtype);
    }
    status = file->WriteAt(block.begin, elements);
  });
  return status;
}

// Of elements that the parameter's type does not hold: they are not loaded as others.
Status LossOf(const std::string& path, const Binding& binding, const Rounded& rounded) {
  if (rounded.count == 0) return OkStatus();
  char example[32];
  snprintf(example, sizeof(example), "%.9g", rounded.example);
  return InvalidArgument(path + ": holds " + example + ", which is no " +
                         std::string(Name(binding.dtype)) + ", the type of '" + binding.name + "'");
}

StatusOr<std::vector<std::byte>> ReadElements(const StoredTensor& tensor, const Binding& binding,
                                              const Storage& storage, Files& files) {
  TP_ASSIGN_OR_RETURN(const File* file, files.Get(tensor.file));
  TP_ASSIGN_OR_RETURN(const int64_t size, file->Size());
  const std::string path = files.PathOf(tensor.file);
  if (size != storage.files[tensor.file].bytes) {
    return InvalidArgument(path + ": has " + std::to_string(size) + " bytes and should have " +
                           std::to_string(storage.files[tensor.file].bytes));
  }
  std::vector<std::byte> part(binding.view.size() * SizeOf(binding.dtype));
  Status status;
  std::vector<std::byte> here, there;
  ForEachBlock(binding, tensor, [&](const StoredBlock& block) {
    if (!status.ok()) return;
    if (IsCopy(block, tensor, binding)) {
      status = file->ReadAt(block.begin, BytesIn(std::span(part), block, binding.dtype));
      return;
    }
    const int64_t count = block.places.size();
    std::span<std::byte> elements = Room(there, count, tensor.dtype);
    status = file->ReadAt(block.begin, elements);
    if (status.ok() && tensor.dtype != binding.dtype) {
      const std::span<std::byte> read = std::exchange(elements, Room(here, count, binding.dtype));
      status = LossOf(path, binding, Convert(tensor.dtype, read, binding.dtype, elements));
    }
    if (status.ok()) Scatter(block.places, SizeOf(binding.dtype), elements.data(), part);
  });
  TP_RETURN_IF_ERROR(status);
  return part;
}

// This rank's part of a tensor of the storage.
const Binding& BindingOf(const RankParts& rank, const StoredTensor& tensor) {
  return rank.schedule.BindingOf(tensor.parameter);
}

// Reads all parts into memory.
StatusOr<std::vector<std::vector<std::byte>>> ReadAllParts(const RankParts& rank,
                                                           const std::string& folder,
                                                           const Storage& storage) {
  Files files(folder, storage, O_RDONLY);
  std::vector<std::vector<std::byte>> parts;
  for (const StoredTensor& tensor : storage.tensors) {
    TP_ASSIGN_OR_RETURN(std::vector<std::byte> part,
                        ReadElements(tensor, BindingOf(rank, tensor), storage, files));
    parts.push_back(std::move(part));
  }
  return parts;
}

// Writes this rank's parts; what the executor says is returned, what files say told.
Status WriteAllParts(const RankParts& rank, const std::string& folder, const Storage& storage,
                     Status& told) {
  Files files(folder, storage, O_WRONLY);
  for (const StoredTensor& tensor : storage.tensors) {
    const Binding& binding = BindingOf(rank, tensor);
    if (!IsFirstWith(binding, rank)) continue;
    TP_ASSIGN_OR_RETURN(const std::vector<std::byte> part,
                        ReadPart(rank.executor, rank.schedule, binding));
    if (told.ok()) told = WriteElements(tensor, binding, part, files);
  }
  if (told.ok()) told = files.Sync();
  return OkStatus();
}

}  // namespace

Status SaveParts(const RankParts& rank, const std::string& folder, const Storage& storage,
                 Status& told) {
  const StatusOr<std::string> path = PlainPath(folder);
  told = path.status();
  if (!told.ok()) return OkStatus();  // on every rank
  const std::string part = *path + ".part";
  if (rank.context.rank() == 0) told = MakeFolder(*path, part, storage);
  TP_RETURN_IF_ERROR(Agree(rank.context, told));
  if (!told.ok()) return OkStatus();
  TP_RETURN_IF_ERROR(WriteAllParts(rank, part, storage, told));
  TP_RETURN_IF_ERROR(Agree(rank.context, told));
  if (rank.context.rank() == 0) {
    if (told.ok()) {
      told = GiveName(*path, part, storage);
    } else {
      static_cast<void>(RemoveFolder(part, storage));  // a full disk has use for the room
    }
  }
  return Agree(rank.context, told);
}

Status LoadParts(const RankParts& rank, const std::string& folder, const StatusOr<Storage>& storage,
                 Status& told) {
  told = storage.status();
  std::vector<std::vector<std::byte>> parts;
  if (told.ok()) {
    StatusOr<std::vector<std::vector<std::byte>>> read = ReadAllParts(rank, folder, *storage);
    told = read.status();
    if (read.ok()) parts = *std::move(read);
  }
  TP_RETURN_IF_ERROR(Agree(rank.context, told));
  if (!told.ok()) return OkStatus();
  for (size_t i = 0; i < parts.size(); ++i) {
    const Fill fill = [&](const Binding& binding, std::span<std::byte> image) {
      InsertLocal(binding, parts[i], image);
    };
    TP_RETURN_IF_ERROR(
        WritePart(rank.executor, rank.schedule, BindingOf(rank, storage->tensors[i]), fill));
  }
  return OkStatus();
}

}  // namespace tp
