// Blob: numbers, strings and bytes packed into one string, for what ranks send to rank 0.
//
// Written and read in the same order by the same program; no format for files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace tp {

class BlobWriter {
 public:
  // Room for `bytes` in all, so that what is written is not moved as it grows.
  void Reserve(size_t bytes) { blob_.reserve(bytes); }

  void Number(int64_t value) { Raw(&value, sizeof(value)); }
  void Number(double value) { Raw(&value, sizeof(value)); }
  void Bytes(std::span<const std::byte> bytes) {
    Number(static_cast<int64_t>(bytes.size()));
    Raw(bytes.data(), bytes.size());
  }
  void Text(std::string_view text) { Bytes(std::as_bytes(std::span(text.data(), text.size()))); }

  std::string Take() { return std::move(blob_); }

 private:
  void Raw(const void* data, size_t size) {
    if (size > 0) blob_.append(static_cast<const char*>(data), size);
  }

  std::string blob_;
};

// Reads a blob that outlives it. Reading past the end is a programmer's mistake.
class BlobReader {
 public:
  explicit BlobReader(std::string_view blob) : rest_(std::as_bytes(std::span(blob))) {}

  int64_t Int() { return Value<int64_t>(); }
  double Double() { return Value<double>(); }
  std::span<const std::byte> Bytes() { return Take(static_cast<size_t>(Int())); }
  std::string Text() {
    const std::span<const std::byte> bytes = Bytes();
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }

 private:
  template <typename T>
  T Value() {
    T value;
    std::memcpy(&value, Take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  std::span<const std::byte> Take(size_t size);

  std::span<const std::byte> rest_;
};

}  // namespace tp
