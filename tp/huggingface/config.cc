#include "tp/huggingface/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "tp/huggingface/files.h"
#include "tp/io/json.h"
#include "tp/io/tensor_checks.h"

namespace tp::hf {
namespace {

using io::Json;

constexpr int kMaxDepth = 16;
constexpr int64_t kMostSize = int64_t{1} << 31;
constexpr double kRopeBase = 10000;  // where the file says none

// A value of the file, on one line and not too long.
std::string Show(const Json& value) {
  constexpr size_t kMost = 60;
  std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace);
  if (text.size() > kMost) text = text.substr(0, kMost) + "...";
  return text;
}

// Reads keys; the first that is wrong is remembered, and what is read from then on does not matter.
class Reader {
 public:
  explicit Reader(const Json& object) : object_(object) {}

  const Status& status() const { return status_; }

  // Null where the key is missing or null.
  const Json* Find(std::string_view key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  void Refuse(std::string_view key, std::string_view needed) {
    const Json* value = Find(key);
    Fail(value == nullptr ? fmt::format("there is no '{}'; it must be {}", key, needed)
                          : fmt::format("'{}' is {}; it must be {}", key, Show(*value), needed));
  }

  int64_t Size(std::string_view key, std::optional<int64_t> otherwise = std::nullopt) {
    const Json* value = Find(key);
    if (value == nullptr && otherwise.has_value()) return *otherwise;
    const auto* number =
        value == nullptr ? nullptr : value->get_ptr<const Json::number_unsigned_t*>();
    if (number == nullptr || *number < 1 || *number > uint64_t{kMostSize}) {
      Refuse(key, fmt::format("a whole number from 1 to {}", kMostSize));
      return 1;
    }
    return static_cast<int64_t>(*number);
  }

  double Positive(std::string_view key, std::optional<double> otherwise = std::nullopt) {
    const Json* value = Find(key);
    if (value == nullptr && otherwise.has_value()) return *otherwise;
    if (value != nullptr && value->is_number() && value->get<double>() > 0 &&
        std::isfinite(value->get<double>())) {
      return value->get<double>();
    }
    Refuse(key, "a number above 0");
    return 1;
  }

  bool Bool(std::string_view key, bool otherwise) {
    const Json* value = Find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_boolean()) Refuse(key, "true or false");
    return value->is_boolean() ? value->get<bool>() : otherwise;
  }

  // Of what the layers do in one way alone. A missing key means that way.
  void Only(std::string_view key, const Json& allowed) {
    const Json* value = Find(key);
    if (value != nullptr && *value != allowed) {
      Refuse(key, fmt::format("{} for this program", Show(allowed)));
    }
  }

  void Fail(std::string message) {
    if (status_.ok()) status_ = InvalidArgument(std::move(message));
  }

 private:
  const Json& object_;
  Status status_;
};

// How pairs turn slower, where the file says so in an object.
void ReadScaling(Reader& reader, RopeOptions& rope) {
  rope.base = reader.Positive("rope_theta", rope.base);
  reader.Only("partial_rotary_factor", 1.0);
  const std::string key = reader.Find("rope_type") != nullptr ? "rope_type" : "type";
  const Json* type = reader.Find(key);
  if (type == nullptr || *type == "default") return;
  if (*type != "linear" && *type != "llama3") {
    return reader.Refuse(key, "\"default\", \"linear\" or \"llama3\"");
  }
  rope.factor = reader.Positive("factor");
  if (*type == "linear") return;
  rope.original = static_cast<double>(reader.Size("original_max_position_embeddings"));
  rope.low = reader.Positive("low_freq_factor");
  rope.high = reader.Positive("high_freq_factor");
  if (rope.low >= rope.high) reader.Refuse("low_freq_factor", "below 'high_freq_factor'");
}

// Transformers 5 says it in rope_parameters, 4 in rope_theta and rope_scaling.
RopeOptions ReadRope(Reader& reader) {
  RopeOptions rope;
  rope.base = reader.Positive("rope_theta", kRopeBase);
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    const Json* object = reader.Find(key);
    if (object == nullptr) continue;
    if (!object->is_object()) {
      reader.Refuse(key, "an object");
      continue;
    }
    Reader inner(*object);
    ReadScaling(inner, rope);
    if (!inner.status().ok()) reader.Fail(fmt::format("{}: {}", key, inner.status().message()));
  }
  return rope;
}

// Attention to a window is attention to all for sequences that are no longer than it.
int64_t Longest(Reader& reader, const std::string& type) {
  int64_t longest = reader.Size("max_position_embeddings", kMostSize);
  const bool has_window =
      type == "mistral" || (type == "qwen2" && reader.Bool("use_sliding_window", false));
  if (has_window) longest = std::min(longest, reader.Size("sliding_window", kMostSize));
  const Json* types = reader.Find("layer_types");
  if (types == nullptr || has_window) return longest;
  const bool full =
      types->is_array() && std::all_of(types->begin(), types->end(),
                                       [](const Json& t) { return t == "full_attention"; });
  if (!full) reader.Refuse("layer_types", "\"full_attention\" for each layer");
  return longest;
}

ModelConfig ReadLlama(Reader& reader, const std::string& type) {
  ModelConfig model;
  model.type = type;
  TransformerConfig& sizes = model.sizes;
  sizes.vocabulary = reader.Size("vocab_size");
  sizes.hidden = reader.Size("hidden_size");
  sizes.ffn = reader.Size("intermediate_size");
  sizes.layers = reader.Size("num_hidden_layers");
  sizes.heads = reader.Size("num_attention_heads");
  sizes.kv_heads = reader.Size("num_key_value_heads", sizes.heads);
  sizes.head_size = reader.Size("head_dim", std::max<int64_t>(sizes.hidden / sizes.heads, 1));
  sizes.norm.eps = reader.Positive("rms_norm_eps", 1e-6);
  sizes.rope = ReadRope(reader);
  sizes.tied_embeddings = reader.Bool("tie_word_embeddings", false);
  model.longest = Longest(reader, type);
  reader.Only("hidden_act", "silu");
  reader.Only("mlp_bias", false);
  reader.Only("attention_bias", type == "qwen2");
  sizes.qkv_bias = type == "qwen2";
  return model;
}

ModelConfig ReadGpt2(Reader& reader) {
  ModelConfig model;
  model.type = "gpt2";
  TransformerConfig& sizes = model.sizes;
  sizes.vocabulary = reader.Size("vocab_size");
  sizes.hidden = reader.Size("n_embd");
  sizes.ffn = reader.Size("n_inner", 4 * sizes.hidden);
  sizes.layers = reader.Size("n_layer");
  sizes.heads = sizes.kv_heads = reader.Size("n_head");
  if (sizes.hidden % sizes.heads != 0) reader.Refuse("n_head", "a divisor of 'n_embd'");
  sizes.head_size = std::max<int64_t>(sizes.hidden / sizes.heads, 1);
  sizes.norm = {NormKind::kLayer, reader.Positive("layer_norm_epsilon", 1e-5)};
  sizes.mlp = MlpKind::kGelu;
  sizes.qkv_bias = sizes.bias = true;
  sizes.positions = model.longest = reader.Size("n_positions");
  sizes.tied_embeddings = reader.Bool("tie_word_embeddings", true);
  reader.Only("activation_function", "gelu_new");
  reader.Only("scale_attn_weights", true);
  reader.Only("scale_attn_by_inverse_layer_idx", false);
  reader.Only("add_cross_attention", false);
  return model;
}

StatusOr<ModelConfig> ReadObject(const Json& root) {
  Reader reader(root);
  const Json* type = reader.Find("model_type");
  const std::string name = type != nullptr && type->is_string() ? type->get<std::string>() : "";
  if (name != "llama" && name != "mistral" && name != "qwen2" && name != "gpt2") {
    reader.Refuse("model_type", "\"llama\", \"mistral\", \"qwen2\" or \"gpt2\"");
    return reader.status();
  }
  ModelConfig model = name == "gpt2" ? ReadGpt2(reader) : ReadLlama(reader, name);
  TP_RETURN_IF_ERROR(reader.status());
  TP_RETURN_IF_ERROR(CheckConfig(model.sizes));
  return model;
}

ModelConfig MakeGpt2(const TransformerConfig& sizes) {
  const nlohmann::ordered_json root = {
      {"architectures", {"GPT2LMHeadModel"}},
      {"model_type", "gpt2"},
      {"vocab_size", sizes.vocabulary},
      {"n_embd", sizes.hidden},
      {"n_inner", sizes.ffn},
      {"n_layer", sizes.layers},
      {"n_head", sizes.heads},
      {"n_positions", sizes.positions},
      {"activation_function", "gelu_new"},
      {"layer_norm_epsilon", sizes.norm.eps},
      {"tie_word_embeddings", sizes.tied_embeddings},
  };
  return {"gpt2", sizes, sizes.positions, root.dump(2) + "\n"};
}

}  // namespace

StatusOr<ModelConfig> ParseConfig(std::string_view text, const std::string& file) {
  StatusOr<Json> root = io::ParseJson(text, "the file", kMaxDepth);
  if (!root.ok()) return root.status().WithContext(file);
  StatusOr<ModelConfig> model = ReadObject(*root);
  if (!model.ok()) return model.status().WithContext(file);
  model->text = text;
  return model;
}

StatusOr<ModelConfig> ReadConfig(const std::string& folder) {
  const std::string path = folder + "/" + kConfigFile;
  TP_ASSIGN_OR_RETURN(const std::string text, ReadText(path));
  return ParseConfig(text, path);
}

ModelConfig ConfigOf(const TransformerConfig& sizes, int64_t longest) {
  if (sizes.positions > 0) return MakeGpt2(sizes);
  const bool qwen = sizes.qkv_bias;
  nlohmann::ordered_json root = {
      {"architectures", {qwen ? "Qwen2ForCausalLM" : "LlamaForCausalLM"}},
      {"model_type", qwen ? "qwen2" : "llama"},
      {"vocab_size", sizes.vocabulary},
      {"hidden_size", sizes.hidden},
      {"intermediate_size", sizes.ffn},
      {"num_hidden_layers", sizes.layers},
      {"num_attention_heads", sizes.heads},
      {"num_key_value_heads", sizes.kv_heads},
      {"head_dim", sizes.head_size},
      {"hidden_act", "silu"},
      {"max_position_embeddings", longest},
      {"rms_norm_eps", sizes.norm.eps},
      {"rope_theta", sizes.rope.base},
      {"tie_word_embeddings", sizes.tied_embeddings},
  };
  const RopeOptions& rope = sizes.rope;
  if (rope.factor != 1) {
    root["rope_scaling"] = {{"rope_type", "linear"}, {"factor", rope.factor}};
  }
  if (rope.factor != 1 && rope.original > 0) {
    root["rope_scaling"] = {
        {"rope_type", "llama3"},
        {"factor", rope.factor},
        {"original_max_position_embeddings", static_cast<int64_t>(rope.original)},
        {"low_freq_factor", rope.low},
        {"high_freq_factor", rope.high}};
  }
  return {qwen ? "qwen2" : "llama", sizes, longest, root.dump(2) + "\n"};
}

std::string TextWithDType(const ModelConfig& config, DType dtype) {
  auto root = nlohmann::ordered_json::parse(config.text);
  const std::string name = dtype == DType::kFloat64   ? "float64"
                           : dtype == DType::kFloat32 ? "float32"
                           : dtype == DType::kFloat16 ? "float16"
                                                      : "bfloat16";
  root.erase("dtype");
  root["torch_dtype"] = name;  // both versions of transformers read it
  return root.dump(2, ' ', /*ensure_ascii=*/true,
                   nlohmann::ordered_json::error_handler_t::replace) +
         "\n";
}

}  // namespace tp::hf
