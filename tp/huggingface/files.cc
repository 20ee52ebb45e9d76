#include "tp/huggingface/files.h"

#include <fmt/format.h>

#include <cstdint>
#include <memory>
#include <span>

#include "tp/io/byte_source.h"

namespace tp::hf {

StatusOr<std::string> ReadText(const std::string& path) {
  constexpr int64_t kMost = int64_t{1} << 26;
  TP_ASSIGN_OR_RETURN(const std::unique_ptr<io::ByteSource> file, io::OpenFile(path));
  if (file->size() > kMost) {
    return InvalidArgument(
        fmt::format("{}: has {} bytes; at most {} are read", path, file->size(), kMost));
  }
  std::string text(file->size(), '\0');
  TP_RETURN_IF_ERROR(file->Read(0, std::as_writable_bytes(std::span(text))));
  return text;
}

}  // namespace tp::hf
