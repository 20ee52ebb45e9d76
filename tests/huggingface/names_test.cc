// Where parameters lie in GPT-2's tensors, element by element; tests/peer holds the names of
// others.
#include "tp/huggingface/names.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace tp::hf {
namespace {

// Two groups of one query head, of three numbers; four features.
constexpr int64_t kGroups = 2, kSize = 3, kFeatures = 4, kHeads = kGroups * kSize;

int64_t ElementAt(const Place& place, const std::vector<int64_t>& index) {
  int64_t element = place.begin;
  for (size_t d = 0; d < index.size(); ++d) element += index[d] * place.strides[d];
  return element;
}

TEST(NamesTest, QueryKeyAndValueAreColumnsOfOneMatrix) {
  const Shape whole = {kFeatures, 3 * kHeads};
  for (int64_t g = 0; g < kGroups; ++g) {
    for (int64_t d = 0; d < kSize; ++d) {
      for (int64_t e = 0; e < kFeatures; ++e) {
        int64_t column = g * kSize + d;
        const Place query =
            PlaceOf("gpt2", "layers.7.attention.query.weight", {kGroups, 1, kSize, kFeatures})
                .value();
        EXPECT_EQ(query.name, "transformer.h.7.attn.c_attn.weight");
        EXPECT_EQ(query.shape, whole);
        EXPECT_EQ(ElementAt(query, {g, 0, d, e}), e * whole[1] + column);
        for (const char* name : {"key", "value"}) {
          column += kHeads;
          const std::string parameter = std::string("layers.7.attention.") + name;
          const Place place =
              PlaceOf("gpt2", parameter + ".weight", {kGroups, kSize, kFeatures}).value();
          EXPECT_EQ(place.shape, whole);
          EXPECT_EQ(ElementAt(place, {g, d, e}), e * whole[1] + column);
          const Place bias = PlaceOf("gpt2", parameter + ".bias", {kGroups, kSize}).value();
          EXPECT_EQ(bias.name, "transformer.h.7.attn.c_attn.bias");
          EXPECT_EQ(bias.shape, Shape{3 * kHeads});
          EXPECT_EQ(ElementAt(bias, {g, d}), column);
        }
      }
    }
  }
}

TEST(NamesTest, OtherMatricesAreTurned) {
  const Place output =
      PlaceOf("gpt2", "layers.0.attention.output.weight", {kFeatures, kGroups, 1, kSize}).value();
  EXPECT_EQ(output.shape, (Shape{kHeads, kFeatures}));
  EXPECT_EQ(ElementAt(output, {3, 1, 0, 2}), (kSize + 2) * kFeatures + 3);
  const Place up = PlaceOf("gpt2", "layers.0.mlp.up.weight", {5, kFeatures}).value();
  EXPECT_EQ(up.name, "transformer.h.0.mlp.c_fc.weight");
  EXPECT_EQ(up.shape, (Shape{kFeatures, 5}));
  EXPECT_EQ(ElementAt(up, {4, 1}), 5 + 4);
}

TEST(NamesTest, WhatAModelDoesNotHaveIsTold) {
  for (const char* name : {"layers.0.attention.query", "layers.0", "layers.", "", "weight",
                           "layers.0.mlp.gate.weight"}) {
    EXPECT_EQ(PlaceOf("gpt2", name, {1}).status().code(), StatusCode::kNotFound) << name;
  }
  EXPECT_EQ(PlaceOf("llama", "position.weight", {1}).status().code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace tp::hf
