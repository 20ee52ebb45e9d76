// Where a parameter of the transformer lies in the tensors of a checkpoint in Hugging Face's
// layout.
//
// A tensor there is a matrix [out, in] or a vector. Our parameters have heads as dimensions; their
// memory is the same, so that "layers.0.attention.query.weight" [g, r, d, e] is
// "model.layers.0.self_attn.q_proj.weight" [g r d, e] as it lies. GPT-2's matrices are turned,
// [in, out], and its query, key and value lie side by side in one.
//
// Source: modeling_llama.py, modeling_mistral.py, modeling_qwen2.py and modeling_gpt2.py of the
// package `transformers`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tp/core/shape.h"
#include "tp/core/status.h"

namespace tp::hf {

// The element at index i of a parameter is element begin + the sum over d of i[d] * strides[d] of
// the tensor `name` there, which has `shape`, row-major.
struct Place {
  std::string name;
  Shape shape;
  int64_t begin = 0;
  std::vector<int64_t> strides;
};

// Of a parameter of this shape, in a model of `type` (config.h). NOT_FOUND where that has no such
// parameter.
StatusOr<Place> PlaceOf(std::string_view type, std::string_view parameter, const Shape& shape);

// Whether a checkpoint may have a tensor of this name though no parameter lies in it: what the
// model works out by itself, and where embeddings are tied, the logits' weight.
bool IsLeftOut(std::string_view name, bool tied_embeddings);

}  // namespace tp::hf
