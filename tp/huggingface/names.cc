#include "tp/huggingface/names.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <span>

#include "tp/runtime/storage.h"

namespace tp::hf {
namespace {

// Where a parameter lies.
struct Row {
  std::string_view ours;
  std::string_view theirs;
  // How many of our dimensions, from the first, are what comes out of the product: the matrix's
  // first one there. All of them where it is a vector.
  int out = 0;
  // Conv1D's matrices are [in, out].
  bool turned = false;
  // Of `parts` parameters that lie in one tensor, side by side in what comes out, which one it is.
  int part = 0;
  int parts = 1;
};
constexpr int kVector = 0;
constexpr bool kTurned = true;

constexpr Row kLlamaModel[] = {
    {"embedding.weight", "model.embed_tokens.weight", 1},
    {"norm.gain", "model.norm.weight", kVector},
    {"output.weight", "lm_head.weight", 1},
};
constexpr Row kLlamaLayer[] = {
    {"attention.norm.gain", "input_layernorm.weight", kVector},
    {"attention.query.weight", "self_attn.q_proj.weight", 3},
    {"attention.query.bias", "self_attn.q_proj.bias", kVector},
    {"attention.key.weight", "self_attn.k_proj.weight", 2},
    {"attention.key.bias", "self_attn.k_proj.bias", kVector},
    {"attention.value.weight", "self_attn.v_proj.weight", 2},
    {"attention.value.bias", "self_attn.v_proj.bias", kVector},
    {"attention.output.weight", "self_attn.o_proj.weight", 1},
    {"mlp.norm.gain", "post_attention_layernorm.weight", kVector},
    {"mlp.gate.weight", "mlp.gate_proj.weight", 1},
    {"mlp.up.weight", "mlp.up_proj.weight", 1},
    {"mlp.down.weight", "mlp.down_proj.weight", 1},
};

constexpr Row kGpt2Model[] = {
    {"embedding.weight", "transformer.wte.weight", 1},
    {"position.weight", "transformer.wpe.weight", 1},
    {"norm.gain", "transformer.ln_f.weight", kVector},
    {"norm.bias", "transformer.ln_f.bias", kVector},
};
constexpr Row kGpt2Layer[] = {
    {"attention.norm.gain", "ln_1.weight", kVector},
    {"attention.norm.bias", "ln_1.bias", kVector},
    {"attention.query.weight", "attn.c_attn.weight", 3, kTurned, 0, 3},
    {"attention.key.weight", "attn.c_attn.weight", 2, kTurned, 1, 3},
    {"attention.value.weight", "attn.c_attn.weight", 2, kTurned, 2, 3},
    {"attention.query.bias", "attn.c_attn.bias", kVector, kTurned, 0, 3},
    {"attention.key.bias", "attn.c_attn.bias", kVector, kTurned, 1, 3},
    {"attention.value.bias", "attn.c_attn.bias", kVector, kTurned, 2, 3},
    {"attention.output.weight", "attn.c_proj.weight", 1, kTurned},
    {"attention.output.bias", "attn.c_proj.bias", kVector},
    {"mlp.norm.gain", "ln_2.weight", kVector},
    {"mlp.norm.bias", "ln_2.bias", kVector},
    {"mlp.up.weight", "mlp.c_fc.weight", 1, kTurned},
    {"mlp.up.bias", "mlp.c_fc.bias", kVector},
    {"mlp.down.weight", "mlp.c_proj.weight", 1, kTurned},
    {"mlp.down.bias", "mlp.c_proj.bias", kVector},
};

// The names of a kind of model.
struct Names {
  std::span<const Row> model;
  std::span<const Row> layer;
  std::string_view layers;  // what comes before a layer's number
};
const Names kLlama = {kLlamaModel, kLlamaLayer, "model.layers"};
const Names kGpt2 = {kGpt2Model, kGpt2Layer, "transformer.h"};

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

// Our memory as it is, or the matrix turned; one of several parameters side by side in its columns.
Place PlaceIn(const Row& row, const Shape& shape) {
  const auto split = row.out == kVector ? shape.end() : shape.begin() + row.out;
  const Shape out(shape.begin(), split), in(split, shape.end());
  const int64_t outs = NumElements(out), ins = NumElements(in);
  Place place;
  if (!row.turned) {
    place.shape = row.out == kVector ? Shape{outs} : Shape{outs, ins};
    place.strides = RowMajorStrides(shape);
    return place;
  }
  const int64_t columns = outs * row.parts;
  place.shape = row.out == kVector ? Shape{columns} : Shape{ins, columns};
  place.begin = outs * row.part;
  place.strides = RowMajorStrides(out);
  for (int64_t stride : RowMajorStrides(in)) place.strides.push_back(stride * columns);
  return place;
}

}  // namespace

StatusOr<Place> PlaceOf(std::string_view type, std::string_view parameter, const Shape& shape) {
  const Names& names = type == "gpt2" ? kGpt2 : kLlama;
  const auto layer = SplitLayer(parameter);
  const Row* row =
      layer.has_value() ? FindRow(names.layer, layer->second) : FindRow(names.model, parameter);
  if (row == nullptr) {
    return NotFound(fmt::format("a model of type {} has no parameter '{}'", type, parameter));
  }
  Place place = PlaceIn(*row, shape);
  place.name = layer.has_value() ? fmt::format("{}.{}.{}", names.layers, layer->first, row->theirs)
                                 : std::string(row->theirs);
  return place;
}

bool IsLeftOut(std::string_view name, bool tied_embeddings) {
  return name.ends_with(".rotary_emb.inv_freq") || name.ends_with(".attn.bias") ||
         name.ends_with(".attn.masked_bias") || (tied_embeddings && name == "lm_head.weight");
}

}  // namespace tp::hf
