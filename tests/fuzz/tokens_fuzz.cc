// Whatever the bytes, as each kind of file: no crash, an error of one line, and no id outside the
// vocabulary.
#include <glog/logging.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tp/core/status.h"
#include "tp/data/tokens.h"

namespace {

void CheckError(const tp::Status& status) {
  const std::string& message = status.message();
  CHECK(message.starts_with("input") && message.find('\n') == message.npos) << message;
}

void Try(std::span<const std::byte> bytes, const std::string& name, int64_t vocabulary) {
  const tp::StatusOr<tp::TokenFile> file = tp::TokenFile::Parse(bytes, name, vocabulary);
  if (!file.ok()) return CheckError(file.status());
  CHECK_GE(file->size(), 1);
  CHECK_LE(file->size(), static_cast<int64_t>(bytes.size()));
  std::vector<int32_t> ids(file->size());
  const tp::Status read = file->Read(0, ids);
  if (!read.ok()) return CheckError(read);
  for (int32_t id : ids) CHECK(id >= 0 && id < vocabulary) << id;
  CHECK(file->Read(file->size(), {}).ok());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  for (int64_t vocabulary : {1, 200, 50257}) {
    for (const char* name : {"input", "input.bin", "input.npy"}) Try(bytes, name, vocabulary);
  }
  return 0;
}
