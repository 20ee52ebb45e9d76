#include "tp/huggingface/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "tp/model/presets.h"

namespace tp::hf {
namespace {

using nlohmann::json;
using testing::HasSubstr;

// As SmolLM2-135M has it, of transformers 4.
json Smol() {
  return json::parse(R"({
    "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
    "bos_token_id": 0, "eos_token_id": 0, "hidden_act": "silu", "hidden_size": 576,
    "initializer_range": 0.041666666666666664, "intermediate_size": 1536,
    "max_position_embeddings": 8192, "mlp_bias": false, "model_type": "llama",
    "num_attention_heads": 9, "num_hidden_layers": 30, "num_key_value_heads": 3,
    "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": null, "rope_theta": 100000,
    "tie_word_embeddings": true, "torch_dtype": "bfloat16", "use_cache": true,
    "vocab_size": 49152})");
}

StatusOr<ModelConfig> Parse(const json& object) { return ParseConfig(object.dump(), "c.json"); }

void ExpectSame(const TransformerConfig& a, const TransformerConfig& b) {
  EXPECT_EQ(a.vocabulary, b.vocabulary);
  EXPECT_EQ(a.hidden, b.hidden);
  EXPECT_EQ(a.layers, b.layers);
  EXPECT_EQ(a.heads, b.heads);
  EXPECT_EQ(a.kv_heads, b.kv_heads);
  EXPECT_EQ(a.head_size, b.head_size);
  EXPECT_EQ(a.ffn, b.ffn);
  EXPECT_EQ(a.norm.eps, b.norm.eps);
  EXPECT_EQ(RopeAttributes(a.rope), RopeAttributes(b.rope));
  EXPECT_EQ(a.tied_embeddings, b.tied_embeddings);
  EXPECT_EQ(a.norm.kind, b.norm.kind);
  EXPECT_EQ(a.mlp, b.mlp);
  EXPECT_EQ(a.qkv_bias, b.qkv_bias);
  EXPECT_EQ(a.bias, b.bias);
  EXPECT_EQ(a.positions, b.positions);
}

TEST(ConfigTest, ReadsWhatAModelsMakerWrote) {
  const StatusOr<ModelConfig> model = Parse(Smol());
  ASSERT_TRUE(model.ok()) << model.status().ToString();
  ExpectSame(model->sizes, *Preset("smollm2-135m"));
  EXPECT_EQ(model->type, "llama");
  EXPECT_EQ(model->longest, 8192);
}

TEST(ConfigTest, ReadsBothVersionsOfRope) {
  json five = Smol();
  five.erase("rope_theta");
  five.erase("rope_scaling");
  five["rope_parameters"] = {{"rope_theta", 5e5}, {"rope_type", "default"}};
  EXPECT_EQ(Parse(five)->sizes.rope.base, 5e5);
  // As Llama 3.2 has it.
  five["rope_parameters"] = {{"rope_theta", 5e5},      {"rope_type", "llama3"},
                             {"factor", 32.0},         {"original_max_position_embeddings", 8192},
                             {"low_freq_factor", 1.0}, {"high_freq_factor", 4.0}};
  EXPECT_EQ(RopeAttributes(Parse(five)->sizes.rope),
            RopeAttributes({.base = 5e5, .factor = 32, .original = 8192, .low = 1, .high = 4}));
  EXPECT_EQ(Parse(Smol())->sizes.rope.base, 1e5);
}

TEST(ConfigTest, AWindowMakesSequencesShorter) {
  json mistral = Smol();
  mistral["model_type"] = "mistral";
  EXPECT_EQ(Parse(mistral)->longest, 8192);
  mistral["sliding_window"] = nullptr;
  EXPECT_EQ(Parse(mistral)->longest, 8192);
  mistral["sliding_window"] = 4096;
  EXPECT_EQ(Parse(mistral)->longest, 4096);
}

// As gpt2 has it, whose n_inner is not said.
TEST(ConfigTest, ReadsGpt2) {
  json gpt2 = json::parse(R"({
    "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0.1,
    "bos_token_id": 50256, "embd_pdrop": 0.1, "eos_token_id": 50256, "initializer_range": 0.02,
    "layer_norm_epsilon": 1e-05, "model_type": "gpt2", "n_ctx": 1024, "n_embd": 768, "n_head": 12,
    "n_layer": 12, "n_positions": 1024, "resid_pdrop": 0.1, "vocab_size": 50257})");
  const StatusOr<ModelConfig> model = Parse(gpt2);
  ASSERT_TRUE(model.ok()) << model.status().ToString();
  ExpectSame(model->sizes, *Preset("gpt2"));
  EXPECT_EQ(model->longest, 1024);
  gpt2["activation_function"] = "relu";
  EXPECT_THAT(Parse(gpt2).status().message(), HasSubstr("'activation_function' is \"relu\""));
  gpt2["activation_function"] = "gelu_new";
  gpt2["n_head"] = 7;
  EXPECT_THAT(Parse(gpt2).status().message(), HasSubstr("'n_head' is 7; it must be a divisor"));
}

TEST(ConfigTest, ReadsQwen2) {
  json qwen = Smol();
  qwen["model_type"] = "qwen2";
  qwen.erase("attention_bias");
  qwen["use_sliding_window"] = false;
  qwen["sliding_window"] = 4096;
  EXPECT_TRUE(Parse(qwen)->sizes.qkv_bias);
  EXPECT_EQ(Parse(qwen)->longest, 8192);
  qwen["use_sliding_window"] = true;
  EXPECT_EQ(Parse(qwen)->longest, 4096);
}

TEST(ConfigTest, LeavesOutWhatHasAMeaningWithoutIt) {
  json least = Smol();
  for (const char* key : {"num_key_value_heads", "rope_theta", "rope_scaling", "attention_bias",
                          "mlp_bias", "tie_word_embeddings", "rms_norm_eps", "hidden_act"}) {
    least.erase(key);
  }
  const StatusOr<ModelConfig> model = Parse(least);
  ASSERT_TRUE(model.ok()) << model.status().ToString();
  EXPECT_EQ(model->sizes.kv_heads, 9);
  EXPECT_EQ(model->sizes.head_size, 64);
  EXPECT_EQ(model->sizes.rope.base, 10000);
  EXPECT_EQ(model->sizes.norm.eps, 1e-6);
  EXPECT_FALSE(model->sizes.tied_embeddings);
}

TEST(ConfigTest, SaysWhichKeyIsWrong) {
  struct Case {
    const char* key;
    json value;
    const char* message;
  };
  const Case cases[] = {
      {"model_type", "mamba", "c.json: 'model_type' is \"mamba\"; it must be"},
      {"model_type", 7, "'model_type' is 7"},
      {"hidden_size", -5, "'hidden_size' is -5; it must be a whole number from 1 to"},
      {"hidden_size", 2.5, "'hidden_size' is 2.5"},
      {"hidden_size", 1e30, "'hidden_size' is 1e+30"},
      {"hidden_size", nullptr, "there is no 'hidden_size'"},
      {"vocab_size", 0, "'vocab_size' is 0"},
      {"num_hidden_layers", "30", "'num_hidden_layers' is \"30\""},
      {"num_key_value_heads", 2, "heads is 9 and kv_heads is 2, which must divide it"},
      {"num_hidden_layers", 1000000000, "layers is 1000000000; it must be between 1 and 10000"},
      {"rms_norm_eps", 0, "'rms_norm_eps' is 0; it must be a number above 0"},
      {"rope_theta", "NaN", "'rope_theta' is \"NaN\""},
      {"rope_scaling", json({{"rope_type", "yarn"}, {"factor", 8}}),
       "rope_scaling: 'rope_type' is \"yarn\"; it must be \"default\", \"linear\" or"},
      {"rope_scaling", json({{"type", "linear"}}), "rope_scaling: there is no 'factor'"},
      {"rope_scaling", json({{"type", "linear"}, {"factor", -2}}), "'factor' is -2; it must be a"},
      {"rope_scaling", json({{"type", "llama3"}, {"factor", 2}}),
       "rope_scaling: there is no 'original_max_position_embeddings'"},
      {"rope_scaling", json("linear"), "'rope_scaling' is \"linear\"; it must be an object"},
      {"hidden_act", "gelu", "'hidden_act' is \"gelu\"; it must be \"silu\""},
      {"attention_bias", true, "'attention_bias' is true"},
      {"mlp_bias", true, "'mlp_bias' is true"},
      {"tie_word_embeddings", "yes", "'tie_word_embeddings' is \"yes\"; it must be true or false"},
      {"layer_types", json({"sliding_attention"}), "'layer_types' is [\"sliding_attention\"]"},
      {"hidden_size", int64_t{1} << 31, "is too large"},
  };
  for (const Case& one : cases) {
    json damaged = Smol();
    damaged[one.key] = one.value;
    EXPECT_THAT(Parse(damaged).status().message(), HasSubstr(one.message)) << one.key;
  }
}

TEST(ConfigTest, SaysWhatIsNoConfig) {
  const auto message = [](const std::string& text) {
    return ParseConfig(text, "c.json").status().message();
  };
  EXPECT_EQ(message(""), "c.json: the file is not valid JSON");
  EXPECT_EQ(message("[]"), "c.json: the file is not a JSON object");
  EXPECT_EQ(message("{\"rms_norm_eps\": NaN}"), "c.json: the file is not valid JSON");
  EXPECT_EQ(message("{\"rms_norm_eps\": 1e999}"), "c.json: the file is not valid JSON");
  EXPECT_EQ(message("{\"a\": 1, \"a\": 2}"), "c.json: the file has \"a\" twice");
  EXPECT_EQ(message(std::string(100000, '[')), "c.json: the file is nested too deeply");
  EXPECT_THAT(message("{}"), HasSubstr("there is no 'model_type'"));
  EXPECT_EQ(ReadConfig("/no/where").status().code(), StatusCode::kNotFound);
}

TEST(ConfigTest, WhatIsMadeHereIsReadBack) {
  for (std::string_view name : PresetNames()) {
    const StatusOr<TransformerConfig> sizes = Preset(name);
    const ModelConfig made = ConfigOf(*sizes, 100);
    const StatusOr<ModelConfig> read = ParseConfig(made.text, "c.json");
    ASSERT_TRUE(read.ok()) << name << ": " << read.status().ToString();
    ExpectSame(read->sizes, *sizes);
    EXPECT_EQ(read->type, made.type);
    EXPECT_EQ(read->longest, sizes->positions > 0 ? sizes->positions : 100);
    TransformerConfig scaled = *sizes;
    if (scaled.positions > 0) continue;
    scaled.rope.factor = 8;
    ExpectSame(ParseConfig(ConfigOf(scaled, 100).text, "c.json")->sizes, scaled);
    scaled.rope = {.factor = 32, .original = 8192, .low = 1, .high = 4};
    ExpectSame(ParseConfig(ConfigOf(scaled, 100).text, "c.json")->sizes, scaled);
  }
}

TEST(ConfigTest, OnlyTheTypeOfWeightsChanges) {
  const ModelConfig model = *Parse(Smol());
  json expected = Smol();
  expected["torch_dtype"] = "float32";
  EXPECT_EQ(json::parse(TextWithDType(model, DType::kFloat32)), expected);
}

}  // namespace
}  // namespace tp::hf
