#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "tp/huggingface/checkpoint.h"
#include "tp/huggingface/files.h"
#include "tp/huggingface/names.h"
#include "tp/huggingface/state.h"
#include "tp/io/safetensors.h"

namespace tp::hf {
namespace {

using io::SafetensorsEntry;

// A file of tensors, and the parameters that lie in them.
struct TensorFile {
  std::vector<SafetensorsEntry> entries;
  std::vector<std::pair<std::string, Place>> parameters;
  int64_t bytes = 0;  // of the tensors
};

int64_t BytesOf(const SafetensorsEntry& entry) {
  return NumElements(entry.shape) * SizeOf(*io::SafetensorsDType(entry.dtype));
}

SafetensorsEntry EntryOf(const Place& place, DType dtype) {
  return {
      .name = place.name, .dtype = std::string(io::SafetensorsName(dtype)), .shape = place.shape};
}

// The weights in shards, and last what belongs to the optimizer.
StatusOr<std::vector<TensorFile>> Distribute(const ModelConfig& config, const Program& program,
                                             int64_t shard_bytes) {
  std::vector<TensorFile> shards(1);
  TensorFile optimizer;
  std::map<std::string, size_t> shard_of;  // by the tensor's name there
  for (const Op& op : program.ops()) {
    if (!op.Is(kParameter)) continue;
    const Value& value = program.value(op.outputs[0]);
    if (IsState(value.name)) {
      const Place place = {value.name, value.shape, 0, RowMajorStrides(value.shape)};
      optimizer.entries.push_back(EntryOf(place, value.dtype));
      optimizer.parameters.emplace_back(value.name, place);
      continue;
    }
    TP_ASSIGN_OR_RETURN(Place place, PlaceOf(config.type, value.name, value.shape));
    const SafetensorsEntry entry = EntryOf(place, value.dtype);
    if (shard_of.count(place.name) == 0) {
      if (shards.back().bytes > 0 && shards.back().bytes + BytesOf(entry) > shard_bytes) {
        shards.emplace_back();
      }
      shards.back().entries.push_back(entry);
      shards.back().bytes += BytesOf(entry);
      shard_of[place.name] = shards.size() - 1;
    }
    shards[shard_of[place.name]].parameters.emplace_back(value.name, std::move(place));
  }
  shards.push_back(std::move(optimizer));
  return shards;
}

void AddFile(const std::string& name, TensorFile& file, Storage& storage) {
  // So that each begins at a multiple of its elements' size.
  std::stable_sort(file.entries.begin(), file.entries.end(),
                   [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
                     return SizeOf(*io::SafetensorsDType(a.dtype)) >
                            SizeOf(*io::SafetensorsDType(b.dtype));
                   });
  std::string head = io::EncodeSafetensorsHead(file.entries);
  const auto data = static_cast<int64_t>(head.size());
  std::map<std::string, const SafetensorsEntry*> by_name;
  for (const SafetensorsEntry& entry : file.entries) by_name[entry.name] = &entry;
  for (const auto& [parameter, place] : file.parameters) {
    const SafetensorsEntry& entry = *by_name.at(place.name);
    const DType dtype = *io::SafetensorsDType(entry.dtype);
    storage.tensors.push_back({parameter, storage.files.size(),
                               data + entry.begin + place.begin * SizeOf(dtype), dtype,
                               place.strides});
  }
  const int64_t end = file.entries.empty() ? 0 : file.entries.back().end;
  storage.files.push_back({name, std::move(head), data + end});
}

void AddText(const std::string& name, const std::string& text, Storage& storage) {
  storage.files.push_back({name, text, static_cast<int64_t>(text.size())});
}

// The shards, and their index where there are several.
void AddWeights(std::vector<TensorFile>& shards, Storage& storage) {
  if (shards.size() == 1) return AddFile(kWeightsFile, shards[0], storage);
  nlohmann::json index;
  int64_t total = 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    for (const SafetensorsEntry& entry : shards[i].entries) {
      index["weight_map"][entry.name] = name;
    }
    total += shards[i].bytes;
    AddFile(name, shards[i], storage);
  }
  index["metadata"]["total_size"] = total;
  AddText(kIndexFile, index.dump(2) + "\n", storage);
}

// The type of the weights, as config.json has one for all.
DType TypeOfWeights(const Program& program) {
  for (const Op& op : program.ops()) {
    if (op.Is(kParameter)) return program.value(op.outputs[0]).dtype;
  }
  return DType::kFloat32;
}

}  // namespace

StatusOr<Storage> StorageToSave(const ModelConfig& config, const Program& program,
                                const SaveOptions& options) {
  TP_ASSIGN_OR_RETURN(std::vector<TensorFile> files,
                      Distribute(config, program, options.shard_bytes));
  TensorFile optimizer = std::move(files.back());
  files.pop_back();
  Storage storage;
  AddText(kConfigFile, TextWithDType(config, TypeOfWeights(program)), storage);
  AddWeights(files, storage);
  if (!optimizer.entries.empty()) AddFile(kOptimizerFile, optimizer, storage);
  for (const auto& [name, text] : options.texts) AddText(name, text, storage);
  return storage;
}

}  // namespace tp::hf
