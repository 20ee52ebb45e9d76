// Whatever the text: no crash, and an error of one line that says where; what is read prints to
// what reads the same.
#include <glog/logging.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "tp/core/status.h"
#include "tp/ops/parse.h"
#include "tp/program/program.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const tp::StatusOr<tp::Program> program = tp::ParseProgram(text);
  if (!program.ok()) {
    const std::string& message = program.status().message();
    CHECK(message.starts_with("line ") && message.find('\n') == message.npos) << message;
    return 0;
  }
  const std::string printed = ToString(*program);
  const tp::StatusOr<tp::Program> again = tp::ParseProgram(printed);
  CHECK(again.ok()) << again.status().ToString();
  CHECK_EQ(ToString(*again), printed);
  [[maybe_unused]] const tp::Status verified = Verify(*program);
  return 0;
}
