// One step of a transformer's training, with all that it reads: what tools that measure a step, or
// prove it, run.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tools/bench/options.h"
#include "tools/train/batch.h"
#include "tools/train/model_flags.h"
#include "tp/core/mesh.h"
#include "tp/core/status.h"
#include "tp/huggingface/config.h"
#include "tp/model/transformer.h"
#include "tp/program/program.h"
#include "tp/runtime/backend.h"
#include "tp/runtime/parts.h"
#include "tp/schedule/schedule.h"

namespace tp::train {

struct ModelStep {
  hf::ModelConfig config;
  TransformerStepOptions options;
  Program program;
  // Of every input and parameter of the program: the text's first batch in the order of training, a
  // first step's scalars, or for a part of the model what it takes and the gradient of what it
  // gives, drawn by the seed; and weights, drawn by the seed or read from --hf.
  std::map<std::string, ElementSource> sources;
};

// The batches that a step takes. Errors: INVALID_ARGUMENT for a token that the model does not know.
StatusOr<BatchOptions> BatchOptionsOf(const ModelOptions& model, const TransformerConfig& config);

// The step's options that the flags stand for.
TransformerStepOptions StepOptions(const ModelOptions& model, const bench::BenchOptions& engine);

// The model that the flags name. Errors: no such preset; those of a folder's config.json; more
// tokens in a sequence than the model was made for.
StatusOr<hf::ModelConfig> ConfigOf(const ModelOptions& model);

// With weights drawn by the seed, of --hf too, of which only the sizes count.
StatusOr<ModelStep> DrawModelStep(const Mesh& mesh, const ModelOptions& model,
                                  const bench::BenchOptions& engine);

// With --hf, and of a whole model, `backend` loads the weights, once, in place of those that were
// drawn. Errors: what the files lack; the backend's.
Status LoadWeights(Backend& backend, const Mesh& mesh, const ModelOptions& model, ModelStep& step);

// Refuses what cannot fit in this machine's memory where all ranks are on it: the buffers of these,
// of one step or of several that are there at once, and what the ranks' threads take.
Status CheckMemory(const bench::BenchOptions& engine, const ModelOptions& model,
                   const std::vector<Schedule>& schedules);

// "llama-tiny", "llama-tiny's block".
std::string NameOf(const ModelOptions& model);

// "llama-tiny: 610,176 parameters in fp32, tp 2, dp 1, backend sim", then what a step takes.
std::string RenderModel(const ModelOptions& model, const bench::BenchOptions& engine,
                        const TransformerConfig& config);

}  // namespace tp::train
