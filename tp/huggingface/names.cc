#include "tp/huggingface/names.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <span>

#include "tp/runtime/storage.h"

namespace tp::hf {
namespace {

struct Row {
  std::string_view ours;
  std::string_view theirs;
  // How many of our dimensions, from the first, are what comes out, and so the matrix's first one;
  // all of them where it is a vector.
  int out = 0;
};
constexpr int kVector = 0;

constexpr Row kLlamaModel[] = {
    {"embedding.weight", "model.embed_tokens.weight", 1},
    {"norm.gain", "model.norm.weight", kVector},
    {"output.weight", "lm_head.weight", 1},
};
constexpr Row kLlamaLayer[] = {
    {"attention.norm.gain", "input_layernorm.weight", kVector},
    {"attention.query.weight", "self_attn.q_proj.weight", 3},
    {"attention.key.weight", "self_attn.k_proj.weight", 2},
    {"attention.value.weight", "self_attn.v_proj.weight", 2},
    {"attention.output.weight", "self_attn.o_proj.weight", 1},
    {"mlp.norm.gain", "post_attention_layernorm.weight", kVector},
    {"mlp.gate.weight", "mlp.gate_proj.weight", 1},
    {"mlp.up.weight", "mlp.up_proj.weight", 1},
    {"mlp.down.weight", "mlp.down_proj.weight", 1},
};

const Row* FindRow(std::span<const Row> rows, std::string_view ours) {
  const auto found =
      std::find_if(rows.begin(), rows.end(), [&](const Row& row) { return row.ours == ours; });
  return found == rows.end() ? nullptr : &*found;
}

// "7" and "mlp.up.weight" of "layers.7.mlp.up.weight".
std::optional<std::pair<std::string_view, std::string_view>> SplitLayer(std::string_view name) {
  constexpr std::string_view kLayers = "layers.";
  if (!name.starts_with(kLayers)) return std::nullopt;
  const std::string_view rest = name.substr(kLayers.size());
  const size_t dot = rest.find('.');
  if (dot == rest.npos) return std::nullopt;
  return std::pair(rest.substr(0, dot), rest.substr(dot + 1));
}

}  // namespace

StatusOr<Place> PlaceOf(std::string_view type, std::string_view parameter, const Shape& shape) {
  const auto layer = SplitLayer(parameter);
  const Row* row =
      layer.has_value() ? FindRow(kLlamaLayer, layer->second) : FindRow(kLlamaModel, parameter);
  if (row == nullptr) {
    return NotFound(fmt::format("a model of type {} has no parameter '{}'", type, parameter));
  }
  Place place;
  place.name = layer.has_value() ? fmt::format("model.layers.{}.{}", layer->first, row->theirs)
                                 : std::string(row->theirs);
  const auto split = row->out == kVector ? shape.end() : shape.begin() + row->out;
  place.shape.push_back(NumElements(Shape(shape.begin(), split)));
  if (row->out != kVector) place.shape.push_back(NumElements(Shape(split, shape.end())));
  place.strides = RowMajorStrides(shape);
  return place;
}

bool IsLeftOut(std::string_view name, bool tied_embeddings) {
  return name.ends_with(".rotary_emb.inv_freq") || (tied_embeddings && name == "lm_head.weight");
}

}  // namespace tp::hf
