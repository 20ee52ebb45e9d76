#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include "tp/huggingface/checkpoint.h"
#include "tp/huggingface/files.h"
#include "tp/huggingface/index.h"
#include "tp/huggingface/names.h"
#include "tp/huggingface/state.h"
#include "tp/io/safetensors.h"
#include "tp/io/tensor_checks.h"

namespace tp::hf {
namespace {

using io::Quote;
using io::SafetensorsEntry;

// A tensor that the files have.
struct Found {
  size_t file = 0;
  SafetensorsEntry entry;
  int64_t data_begin = 0;
  bool used = false;
};

// The tensors of some files, by name; all of them go into one storage.
class Tensors {
 public:
  Tensors(std::string folder, Storage& storage) : folder_(std::move(folder)), storage_(storage) {}

  std::string PathOf(const std::string& file) const { return folder_ + "/" + file; }

  Status Add(const std::string& file) {
    TP_ASSIGN_OR_RETURN(const io::SafetensorsHeader header,
                        io::ReadSafetensorsHeader(PathOf(file)));
    for (const SafetensorsEntry& entry : header.entries) {
      const Found found = {storage_.files.size(), entry, header.data_begin};
      const auto [other, is_new] = by_name_.emplace(entry.name, found);
      if (is_new) continue;
      return InvalidArgument(fmt::format("{}: tensor {} is in {} too", PathOf(file),
                                         Quote(entry.name),
                                         storage_.files[other->second.file].name));
    }
    storage_.files.push_back({file, "", header.file_bytes});
    return OkStatus();
  }

  Found* Find(const std::string& name) {
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? nullptr : &found->second;
  }

  // Puts `parameter` where `place` says. Base models are saved without the first word of names.
  Status Use(const std::string& parameter, const Place& place) {
    Found* found = Find(place.name);
    if (found == nullptr) found = Find(place.name.substr(place.name.find('.') + 1));
    if (found == nullptr) {
      return NotFound(fmt::format("{}: there is no tensor {}, which '{}' is to be loaded from",
                                  folder_, Quote(place.name), parameter));
    }
    const SafetensorsEntry& entry = found->entry;
    const std::string what =
        fmt::format("{}: tensor {}", PathOf(storage_.files[found->file].name), Quote(entry.name));
    const std::optional<DType> dtype = io::SafetensorsDType(entry.dtype);
    if (!dtype.has_value()) {
      return InvalidArgument(fmt::format("{}: has dtype {}; F64, F32, BF16 and F16 are read", what,
                                         Quote(entry.dtype)));
    }
    TP_RETURN_IF_ERROR(io::CheckShape(what, entry.shape, place.shape));
    storage_.tensors.push_back({parameter, found->file,
                                found->data_begin + entry.begin + place.begin * SizeOf(*dtype),
                                *dtype, place.strides});
    found->used = true;
    return OkStatus();
  }

  // A tensor that nobody asked for is part of another model than config.json's.
  Status CheckAllUsed(bool tied_embeddings) const {
    for (const auto& [name, found] : by_name_) {
      if (found.used || IsLeftOut(name, tied_embeddings)) continue;
      return InvalidArgument(
          fmt::format("{}: tensor {} belongs to no parameter of the model that {} describes",
                      PathOf(storage_.files[found.file].name), Quote(name), kConfigFile));
    }
    return OkStatus();
  }

 private:
  const std::string folder_;
  Storage& storage_;
  std::map<std::string, Found> by_name_;
};

Status AddShards(const std::string& folder, const Storage& storage, Tensors& tensors) {
  const std::string path = folder + "/" + kIndexFile;
  TP_ASSIGN_OR_RETURN(const std::string text, ReadText(path));
  TP_ASSIGN_OR_RETURN(const auto index, ParseIndex(text, path));
  std::set<std::string> files;
  for (const auto& [tensor, file] : index) files.insert(file);
  for (const std::string& file : files) TP_RETURN_IF_ERROR(tensors.Add(file));
  for (const auto& [tensor, file] : index) {
    const Found* found = tensors.Find(tensor);
    if (found != nullptr && storage.files[found->file].name == file) continue;
    return InvalidArgument(fmt::format("{}: says that tensor {} lies in {}, and it does not", path,
                                       Quote(tensor), Quote(file)));
  }
  return OkStatus();
}

bool Exists(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

Status AddWeightFiles(const std::string& folder, const Storage& storage, Tensors& tensors) {
  if (Exists(folder + "/" + kWeightsFile)) return tensors.Add(kWeightsFile);
  if (Exists(folder + "/" + kIndexFile)) return AddShards(folder, storage, tensors);
  return NotFound(fmt::format("{}: has neither {} nor {}; weights in other formats are not read",
                              folder, kWeightsFile, kIndexFile));
}

}  // namespace

StatusOr<Storage> StorageIn(const std::string& folder, const ModelConfig& config,
                            const Program& program, Load load) {
  Storage storage;
  Tensors weights(folder, storage), state(folder, storage);
  TP_RETURN_IF_ERROR(AddWeightFiles(folder, storage, weights));
  bool has_state = false;
  for (const Op& op : program.ops()) {
    if (!op.Is(kParameter)) continue;
    const Value& value = program.value(op.outputs[0]);
    std::string of = value.name;  // the weight that it lies in
    if (IsState(value.name) && load == Load::kAll) {
      if (!std::exchange(has_state, true)) TP_RETURN_IF_ERROR(state.Add(kOptimizerFile));
      TP_RETURN_IF_ERROR(
          state.Use(value.name, {value.name, value.shape, 0, RowMajorStrides(value.shape)}));
      continue;
    }
    if (IsState(value.name)) {
      if (!of.ends_with(kMaster)) continue;
      of.resize(of.size() - kMaster.size());
    }
    TP_ASSIGN_OR_RETURN(const Place place, PlaceOf(config.type, of, value.shape));
    TP_RETURN_IF_ERROR(weights.Use(value.name, place));
  }
  TP_RETURN_IF_ERROR(weights.CheckAllUsed(config.sizes.tied_embeddings));
  return storage;
}

}  // namespace tp::hf
