// File: a file whose bytes are read and written at places, for checkpoints.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "tp/core/status.h"

namespace tp {

// "path: what: reason of `error`", where `error` is an errno. NOT_FOUND for what is missing,
// UNAVAILABLE for a full disk, INTERNAL for a failing one, else INVALID_ARGUMENT.
Status FileError(const std::string& path, const std::string& what, int error);

// Closed when this goes. Errors: FileError's.
class File {
 public:
  // As open(2) takes them.
  File(std::string path, int flags);
  ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  // Whether it could be opened; else "path: what: reason". To be asked first.
  Status opened(const std::string& what) const;

  Status WriteAt(int64_t at, std::span<const std::byte> bytes) const;
  // INVALID_ARGUMENT where the file ends before.
  Status ReadAt(int64_t at, std::span<std::byte> bytes) const;
  Status SetSize(int64_t size) const;
  StatusOr<int64_t> Size() const;
  // Until what was written will outlive a crash.
  Status Sync() const;

 private:
  const std::string path_;
  const int fd_;
  int error_ = 0;
};

}  // namespace tp
