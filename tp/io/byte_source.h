// Bytes to be parsed, read at offsets: a file, or memory that stands for one.
//
// A parser written over a ByteSource reads a file piece by piece, so that it looks at a header
// before it allocates for the data, and it takes the same path over bytes from a test or a fuzzer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "tp/core/status.h"

namespace tp::io {

class ByteSource {
 public:
  explicit ByteSource(std::string name) : name_(std::move(name)) {}
  virtual ~ByteSource() = default;
  ByteSource(const ByteSource&) = delete;
  ByteSource& operator=(const ByteSource&) = delete;

  // What errors call it: the path of a file.
  const std::string& name() const { return name_; }
  // Bytes in all, as of opening.
  virtual int64_t size() const = 0;
  // Fills `out` with the bytes from `offset` on, all of which must lie within size().
  virtual Status Read(int64_t offset, std::span<std::byte> out) const = 0;

 private:
  std::string name_;
};

// `bytes` must outlive the source.
class MemorySource : public ByteSource {
 public:
  MemorySource(std::string name, std::span<const std::byte> bytes)
      : ByteSource(std::move(name)), bytes_(bytes) {}
  int64_t size() const override { return static_cast<int64_t>(bytes_.size()); }
  Status Read(int64_t offset, std::span<std::byte> out) const override;

 private:
  std::span<const std::byte> bytes_;
};

// A regular file; anything else (missing, a folder, a pipe) is an error that says which.
StatusOr<std::unique_ptr<ByteSource>> OpenFile(const std::string& path);

}  // namespace tp::io
