// Checkpoints in Hugging Face's layout: config.json, the weights in model.safetensors, or in shards
// of it with their index, and what training goes on with in optimizer.safetensors.
//
//   TP_ASSIGN_OR_RETURN(const hf::ModelConfig config, hf::ReadConfig(folder));
//   ... a Program of config.sizes, a Session for it ...
//   TP_RETURN_IF_ERROR(session->Load(folder, hf::StorageIn(folder, config, program, kWeights)));
//   ... steps ...
//   TP_ASSIGN_OR_RETURN(const Storage storage, hf::StorageToSave(config, program));
//   TP_RETURN_IF_ERROR(session->Save(out, storage));
//
// The package `transformers` loads what is saved so, and what it saves loads here. Each rank reads
// and writes its own parts (tp/runtime/storage.h); that the folder is whole or not there, too, is
// the session's doing. AdamW's moments, squares and master copies have our names and shapes.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "tp/core/status.h"
#include "tp/huggingface/config.h"
#include "tp/program/program.h"
#include "tp/runtime/storage.h"

namespace tp::hf {

struct SaveOptions {
  // The weights are cut into shards of at most this many bytes, or of one tensor.
  int64_t shard_bytes = 5'000'000'000;
  // More files of the folder, by name: what a trainer remembers.
  std::map<std::string, std::string> texts = {};
};

// Where the parameters of a transformer's program go. Weights have the parameters' own types.
StatusOr<Storage> StorageToSave(const ModelConfig& config, const Program& program,
                                const SaveOptions& options = {});

enum class Load {
  kWeights,  // and master copies, which begin as they are; moments and squares are not set
  kAll,      // what a step goes on with
};

// Where the parameters of a transformer's program lie in `folder`. Errors, which name the file and
// the tensor: NOT_FOUND for a file or tensor that is missing, INVALID_ARGUMENT for one of another
// shape, for a type that is not computed with, for a tensor that the model has no parameter for,
// and for whatever else a file says that is not so.
StatusOr<Storage> StorageIn(const std::string& folder, const ModelConfig& config,
                            const Program& program, Load load);

}  // namespace tp::hf
