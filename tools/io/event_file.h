// EventFile: scalars by step, for TensorBoard.
//
// A file of records: each is its length (8 bytes, little-endian), that length's checksum (4 bytes),
// the bytes, and their checksum. Checksums are CRC-32C (Castagnoli), masked by a rotation and a
// constant. The bytes are protocol buffers of TensorFlow's type Event; the first says which version
// of the format it is. Source: tensorflow/core/lib/io/record_writer.h, core/util/event.proto and
// core/framework/summary.proto.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tp/core/status.h"

namespace tp::io {

class EventFile {
 public:
  // Makes `folder` where it is missing, and in it a new file of a name that TensorBoard looks for.
  // Errors: the file system's.
  static StatusOr<std::unique_ptr<EventFile>> Create(const std::string& folder);
  ~EventFile();
  EventFile(const EventFile&) = delete;
  EventFile& operator=(const EventFile&) = delete;

  // Appends one event with these values by name, at once: what was added is there, whatever ends
  // the program. Errors: a full disk.
  Status Add(int64_t step, const std::vector<std::pair<std::string, double>>& scalars);

  const std::string& path() const { return path_; }

 private:
  EventFile(std::string path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}
  Status Append(std::string_view event);

  const std::string path_;
  const int descriptor_;
};

// For the format's tests.
uint32_t Crc32c(std::string_view bytes);

}  // namespace tp::io
