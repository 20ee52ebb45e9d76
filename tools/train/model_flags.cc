#include "tools/train/model_flags.h"

#include <gflags/gflags.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <sstream>
#include <string_view>
#include <system_error>

#include "fmt/format.h"
#include "tools/io/paths.h"
#include "tools/train/text.h"
#include "tp/huggingface/files.h"

DEFINE_string(model, "", "a transformer's sizes, by name: llama-tiny, smollm2-135m, ...");
DEFINE_string(hf, "",
              "folder of a transformer in Hugging Face's layout, to begin with: config.json, "
              "model.safetensors or its shards");
DEFINE_string(part, "",
              "time, or prove, one layer's forward and backward alone: block, or mlp; without, the "
              "whole model's step");
DEFINE_string(text, "",
              "files to learn, with commas between: NAME.npy or NAME.bin (nanoGPT's) of token ids, "
              "or text, byte by byte; without, the licences that every Debian has");
DEFINE_int64(batch, 16, "sequences that a step takes, over all dp ranks and micro-batches");
DEFINE_int64(sequence, 128, "tokens of each");
DEFINE_bool(
    within_documents, false,
    "a token looks at no other document, and learns none's beginning: a document is a file, "
    "or what --end_of_text ends; else all is one text");
DEFINE_int64(end_of_text, -1, "the token that ends a document, by its id; -1: files alone do");
DEFINE_int32(micro_batches, 1,
             "pieces in which a batch is taken, one after the other: less memory");
DEFINE_bool(sequence_parallel, false,
            "split what lies between the products over tp by places in the sequence");
DEFINE_bool(recompute, false,
            "make each layer's activations again for the backward pass, rather than keep them");
DEFINE_double(weight_decay, 0.1, "of AdamW; gains and biases do not decay");
DEFINE_double(clip, 1, "gradients are scaled down to this norm of all of them; 0: never");
DEFINE_bool(masters, true,
            "keep fp32 copies of bf16 and fp16 weights, which take the updates; --nomasters saves "
            "4 bytes a weight, and loses each update below half a unit in the weight's last place");

DEFINE_bool(overlap, false,
            "have collectives run beside what does not need them, where an estimate says that "
            "the step is shorter");
DEFINE_int32(
    strands, 1,
    "micro-batches under way at one time, so that one computes while another communicates; more "
    "than one is --overlap, too");

namespace tp::train {
namespace {

using bench::BadValue;

bool Given(const char* name) { return !gflags::GetCommandLineFlagInfoOrDie(name).is_default; }

Status CheckRanges() {
  const std::pair<const char*, int64_t> positive[] = {{"batch", FLAGS_batch},
                                                      {"sequence", FLAGS_sequence},
                                                      {"micro_batches", FLAGS_micro_batches},
                                                      {"strands", FLAGS_strands}};
  for (const auto& [name, value] : positive) {
    if (value < 1) return BadValue(name, std::to_string(value), "at least 1");
  }
  if (FLAGS_batch % FLAGS_micro_batches != 0) {
    return BadValue("micro_batches", std::to_string(FLAGS_micro_batches),
                    fmt::format("a divisor of --batch, {}", FLAGS_batch).c_str());
  }
  if (FLAGS_end_of_text < -1) {
    return BadValue("end_of_text", std::to_string(FLAGS_end_of_text), "a token's id, or -1");
  }
  if (FLAGS_end_of_text >= 0 && !FLAGS_within_documents) {
    return InvalidArgument("--end_of_text says where documents end: it needs --within_documents");
  }
  TP_RETURN_IF_ERROR(NotNegative("weight_decay", FLAGS_weight_decay));
  TP_RETURN_IF_ERROR(NotNegative("clip", FLAGS_clip));
  if (!FLAGS_hf.empty() && Given("model")) {
    return InvalidArgument("--model and --hf both say which model; give one of them");
  }
  return OkStatus();
}

// Flags of what a part of the model has not.
Status CheckPart() {
  if (FLAGS_part.empty()) return OkStatus();
  if (!ParseTransformerPart(FLAGS_part)) return BadValue("part", FLAGS_part, "block or mlp");
  for (const char* name : {"text", "within_documents", "end_of_text", "micro_batches", "recompute",
                           "strands", "weight_decay", "clip", "masters", "lr"}) {
    if (!Given(name)) continue;
    return InvalidArgument(fmt::format(
        "--{} is of a whole step, and --part={} asks for one layer's forward and backward", name,
        FLAGS_part));
  }
  return OkStatus();
}

// Flags of what weights of a wide type have not.
Status CheckMasters() {
  const std::string name = gflags::GetCommandLineFlagInfoOrDie("dtype").current_value;
  const std::optional<DType> dtype = name == "tf32" ? DType::kFloat32 : ParseDType(name);
  const bool narrow = !dtype || AccumulatorOf(*dtype) != *dtype;  // or another's to refuse
  if (FLAGS_masters || narrow) return OkStatus();
  return InvalidArgument(fmt::format(
      "--masters=false: weights in {} have no masters; only those in bf16 and fp16 do", name));
}

Status CheckStrands() {
  if (FLAGS_strands <= FLAGS_micro_batches) return OkStatus();
  return BadValue("strands", std::to_string(FLAGS_strands),
                  fmt::format("at most --micro_batches, {}", FLAGS_micro_batches).c_str());
}

std::vector<std::string> Files(const std::string& words) {
  std::vector<std::string> files;
  std::istringstream stream(words);
  for (std::string file; std::getline(stream, file, ',');) {
    if (!file.empty()) files.push_back(io::ResolvePath(file));
  }
  return files;
}

// As a shell takes it for one word.
std::string Quoted(const std::string& word) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
      "_-+./,:=@%";
  if (!word.empty() && word.find_first_not_of(kPlain) == word.npos) return word;
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? "'\\''" : std::string(1, c);
  return quoted + "'";
}

}  // namespace

Status NotNegative(const char* name, double value) {
  constexpr double kMost = std::numeric_limits<float>::max();  // what a step computes with
  if (std::isfinite(value) && value > kMost) {
    return BadValue(name, fmt::format("{:g}", value), fmt::format("at most {:g}", kMost).c_str());
  }
  if (std::isfinite(value) && value >= 0) return OkStatus();
  return BadValue(name, fmt::format("{:g}", value), "a finite number, 0 or more");
}

std::string FlagsOfStep(const ModelOptions& model, const bench::BenchOptions& engine) {
  std::string flags =
      model.hf.empty() ? "--model=" + Quoted(model.model) : "--hf=" + Quoted(model.hf);
  if (!FLAGS_part.empty()) flags += " --part=" + FLAGS_part;
  flags += fmt::format(" --tp={}", engine.tp);
  if (engine.dp > 1) flags += fmt::format(" --dp={}", engine.dp);
  std::vector<const char*> names = {"dtype", "lr", "seed", "reduction", "algorithm", "backend"};
  for (const char* name : ModelFlags()) names.push_back(name);
  for (const std::string_view name : names) {
    const auto flag = gflags::GetCommandLineFlagInfoOrDie(name.data());
    if (flag.is_default || name == "model" || name == "hf" || name == "part") continue;
    std::string value = "=" + Quoted(flag.current_value);
    if (flag.type == "bool" && flag.current_value == "true") value = "";
    if (flag.type == "double") value = fmt::format("={}", std::stod(flag.current_value));
    flags += fmt::format(" --{}{}", name, value);
  }
  return flags;
}

std::vector<const char*> ModelFlags() {
  std::vector<const char*> names = PartTopic().flags;
  for (const bench::HelpTopic& topic : ModelTopics()) {
    names.insert(names.end(), topic.flags.begin(), topic.flags.end());
  }
  return names;
}

Status RefuseFlagsOfAModel() {
  for (const char* name : ModelFlags()) {
    if (!Given(name)) continue;
    return InvalidArgument(
        fmt::format("--{} is of a transformer's step: ask for one with --model or --hf", name));
  }
  return OkStatus();
}

std::vector<bench::HelpTopic> ModelTopics() {
  return {{"A transformer",
           {"model", "hf", "text", "batch", "sequence", "within_documents", "end_of_text"}},
          {"How its step is cut",
           {"sequence_parallel", "micro_batches", "recompute", "overlap", "strands"}},
          {"AdamW", {"weight_decay", "clip", "masters"}}};
}

bench::HelpTopic PartTopic() { return {"A part of it", {"part"}}; }

StatusOr<ModelOptions> ReadModelFlags() {
  TP_RETURN_IF_ERROR(CheckRanges());
  TP_RETURN_IF_ERROR(CheckPart());
  TP_RETURN_IF_ERROR(CheckStrands());
  ModelOptions options;
  options.part = ParseTransformerPart(FLAGS_part);
  options.hf = io::ResolvePath(FLAGS_hf);
  if (options.hf.empty()) options.model = FLAGS_model;
  if (options.given()) TP_RETURN_IF_ERROR(CheckMasters());
  options.text = FLAGS_text.empty() ? DefaultText() : Files(FLAGS_text);
  if (options.text.empty()) return BadValue("text", FLAGS_text, "files, with commas between");
  options.batch = FLAGS_batch;
  options.sequence = FLAGS_sequence;
  options.micro_batches = FLAGS_micro_batches;
  options.within_documents = FLAGS_within_documents;
  options.end_of_text = FLAGS_end_of_text;
  options.sequence_parallel = FLAGS_sequence_parallel;
  options.recompute = FLAGS_recompute;
  options.weight_decay = FLAGS_weight_decay;
  options.clip = FLAGS_clip;
  options.masters = FLAGS_masters;
  options.overlap = FLAGS_overlap;
  options.strands = FLAGS_strands;
  return options;
}

std::vector<io::NamedFile> CheckpointFiles(const std::string& flag, const std::string& folder) {
  std::vector<io::NamedFile> files;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name == hf::kConfigFile || name == hf::kIndexFile || name.ends_with(".safetensors")) {
      files.push_back({flag, entry.path().string()});
    }
  }
  return files;
}

std::vector<io::NamedFile> FilesRead(const ModelOptions& options) {
  std::vector<io::NamedFile> files = CheckpointFiles("--hf", options.hf);
  for (const std::string& text : options.text) files.push_back({"--text", text});
  return files;
}

}  // namespace tp::train
