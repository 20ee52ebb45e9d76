#include "tools/bench/model_config_json.h"

namespace tp::bench {

nlohmann::ordered_json ModelConfigToJson(const train::ModelOptions& model,
                                         const TransformerConfig& sizes) {
  using Json = nlohmann::ordered_json;
  return {{"name", model.hf.empty() ? model.model : model.hf},
          {"part", model.part ? Json(Name(*model.part)) : Json()},
          {"parameters", model.part ? NumParameters(sizes, *model.part) : NumParameters(sizes)},
          {"layers", sizes.layers},
          {"hidden", sizes.hidden},
          {"batch", model.batch},
          {"sequence", model.sequence},
          {"within_documents", model.within_documents},
          {"end_of_text", model.end_of_text},
          {"micro_batches", model.micro_batches},
          {"sequence_parallel", model.sequence_parallel},
          {"recompute", model.recompute},
          {"overlap", model.overlap},
          {"strands", model.strands},
          {"weight_decay", model.weight_decay},
          {"clip", model.clip},
          {"masters", model.masters}};
}

}  // namespace tp::bench
