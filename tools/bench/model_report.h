// The bench's report of a transformer's step, for people and for programs.
//
// The JSON is json.h's, with `model` instead of the layer's sizes in `config`: name, part (null:
// the whole), parameters, batch, sequence, micro_batches, sequence_parallel, recompute,
// weight_decay, clip, masters. results[] has one entry, whose mode is "transformer", with flops
// (model, program, products; of a step), tokens_per_second, flops_per_second (of the model's) and
// share_of_peak: MFU.
#pragma once

#include <string>

#include "tools/bench/machine.h"
#include "tools/bench/model_run.h"
#include "tools/bench/options.h"
#include "tools/train/model_flags.h"

namespace tp::bench {

// Of the run and of its traces.
inline constexpr char kModelMode[] = "transformer";

std::string RenderModelHead(const BenchOptions& options, const train::ModelOptions& model,
                            const Machine& machine, const ModelRun& run);

// What was measured, and the verdict on it.
std::string RenderModelRun(const BenchOptions& options, const train::ModelOptions& model,
                           const ModelRun& run);

std::string ModelToJson(const BenchOptions& options, const train::ModelOptions& model,
                        const RunFacts& facts, const ModelRun& run);

}  // namespace tp::bench
