// Whatever the bytes: no crash, an error of one line; and sizes that are accepted are a model's,
// whose config.json is read again as the same.
#include <glog/logging.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "tp/core/dtype.h"
#include "tp/core/status.h"
#include "tp/huggingface/config.h"
#include "tp/model/transformer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const tp::StatusOr<tp::hf::ModelConfig> model = tp::hf::ParseConfig(text, "input");
  if (!model.ok()) {
    const std::string& message = model.status().message();
    CHECK(message.starts_with("input: ") && message.find('\n') == message.npos) << message;
    CHECK_LE(message.size(), 1000u);
    return 0;
  }
  CHECK(tp::CheckConfig(model->sizes).ok());
  CHECK_GE(model->longest, 1);
  const tp::StatusOr<tp::hf::ModelConfig> again =
      tp::hf::ParseConfig(tp::hf::TextWithDType(*model, tp::DType::kFloat32), "written");
  CHECK(again.ok()) << again.status().ToString();
  CHECK_EQ(tp::NumParameters(again->sizes), tp::NumParameters(model->sizes));
  return 0;
}
