#include "tests/model/small_transformer.h"

#include "tp/model/initial.h"

namespace tp {

TransformerConfig SmallTransformer() {
  return {.vocabulary = 13,
          .hidden = 10,
          .layers = 2,
          .heads = 9,
          .kv_heads = 3,
          .head_size = 4,
          .ffn = 7};
}

TransformerStepOptions SmallStep() {
  TransformerStepOptions options;
  options.batch = 3;
  options.sequence = 5;
  return options;
}

ElementSources SourcesOf(const Program& program, const TransformerConfig& config) {
  const AdamWOptions adamw;
  ElementSources sources;
  int64_t sequence = 1;
  for (const Op& op : program.ops()) {
    if (!op.IsSource()) continue;
    const Value& value = program.value(op.outputs[0]);
    if (op.Is(kParameter)) {
      sources[value.name] = InitialValue(config, value.name, /*seed=*/5, /*deviation=*/0.4);
    }
    if (value.name == "tokens") sequence = value.shape[1];
  }
  const auto token = [v = config.vocabulary](int64_t i) {
    return static_cast<double>((i * i * 7 + i * 3) % v);
  };
  sources["tokens"] = token;
  sources["targets"] = [=](int64_t i) {
    return i % sequence == sequence - 1 ? -1.0 : token(i + 1);
  };
  sources["weights"] = [](int64_t) { return 1.0 / 12; };
  sources[kRateInput] = [](int64_t) { return 0.01; };
  sources[kMomentCorrectionInput] = [=](int64_t) { return 1 / (1 - adamw.beta_moment); };
  sources[kSquareCorrectionInput] = [=](int64_t) { return 1 / (1 - adamw.beta_square); };
  return sources;
}

std::string Describe(const Mesh& mesh, bool sequence_parallel) {
  return "tp " + std::to_string(mesh.Size(Axis::kTp)) + " dp " +
         std::to_string(mesh.Size(Axis::kDp)) + (sequence_parallel ? ", sequence parallel" : "");
}

}  // namespace tp
