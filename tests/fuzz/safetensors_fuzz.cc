// Whatever the bytes: no crash, no memory beyond what the input justifies, an error of one line;
// and an accepted header accounts for every byte of the data.
#include <glog/logging.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tp/core/host_tensor.h"
#include "tp/core/status.h"
#include "tp/io/safetensors.h"

namespace {

void CheckError(const tp::Status& status) {
  const std::string& message = status.message();
  CHECK(message.starts_with("input: ") && message.find('\n') == message.npos) << message;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  const tp::StatusOr<std::vector<tp::io::SafetensorsEntry>> entries =
      tp::io::ParseSafetensorsList(bytes, "input");
  if (!entries.ok()) {
    CheckError(entries.status());
    return 0;
  }
  int64_t covered = 0;
  for (const tp::io::SafetensorsEntry& entry : *entries) {
    CHECK_EQ(entry.begin, covered);
    CHECK_GE(entry.end, entry.begin);
    covered = entry.end;
  }
  CHECK_LT(covered, static_cast<int64_t>(size));
  // Each asks for the header again, so a few do.
  for (size_t i = 0; i < std::min<size_t>(entries->size(), 4); ++i) {
    const tp::io::SafetensorsEntry& entry = (*entries)[i];
    const auto tensor = tp::io::ParseSafetensors(bytes, "input", entry.name);
    if (!tensor.ok()) {
      CheckError(tensor.status());
      continue;
    }
    CHECK(tensor->shape() == entry.shape);
    CHECK_EQ(tensor->bytes().size(), static_cast<size_t>(entry.end - entry.begin));
    const auto* begin = bytes.data() + size - static_cast<size_t>(covered - entry.begin);
    CHECK(std::equal(tensor->bytes().begin(), tensor->bytes().end(), begin));
  }
  return 0;
}
