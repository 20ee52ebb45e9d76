// Whatever the bytes: no crash, an error of one line, and no file outside the folder.
#include <glog/logging.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "tp/core/status.h"
#include "tp/huggingface/index.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto index = tp::hf::ParseIndex(text, "input");
  if (!index.ok()) {
    const std::string& message = index.status().message();
    CHECK(message.starts_with("input: ") && message.find('\n') == message.npos) << message;
    CHECK_LE(message.size(), 1000u);
    return 0;
  }
  for (const auto& [tensor, file] : *index) {
    CHECK(file.ends_with(".safetensors") && file.find('/') == file.npos) << file;
  }
  return 0;
}
