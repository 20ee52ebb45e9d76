// Whatever the bytes: no crash, no memory beyond what the input justifies, an error of one line;
// and what is read comes back the same after it has been written.
#include <glog/logging.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "tp/core/dtype.h"
#include "tp/core/host_tensor.h"
#include "tp/core/status.h"
#include "tp/io/npy.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const tp::StatusOr<tp::HostTensor> tensor =
      tp::io::ParseNpy(std::as_bytes(std::span(data, size)), "input");
  if (!tensor.ok()) {
    const std::string& message = tensor.status().message();
    CHECK(message.starts_with("input: ") && message.find('\n') == message.npos) << message;
    return 0;
  }
  CHECK_LE(tensor->bytes().size(), size);
  CHECK_EQ(tensor->bytes().size(),
           static_cast<size_t>(tensor->size() * tp::SizeOf(tensor->dtype())));
  const std::string written = tp::io::EncodeNpy(*tensor);
  const tp::StatusOr<tp::HostTensor> again =
      tp::io::ParseNpy(std::as_bytes(std::span(written)), "written");
  CHECK(again.ok()) << again.status().ToString();
  CHECK(again->shape() == tensor->shape() && again->dtype() == tensor->dtype());
  CHECK(std::ranges::equal(again->bytes(), tensor->bytes()));
  return 0;
}
