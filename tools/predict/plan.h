// Plan: steps on meshes, compared by their time within the machine's memory.
//
// Of many meshes each is taken by its closed form, first from a model of one layer and one of two:
// with every layer more a step takes as much more as with the second, or more, since the first ones
// may hide behind communication that later ones outgrow; so does its memory. By that least those
// that may be among the best are found, and their closed form is then that of the whole model.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backends/predict/cost_model.h"
#include "backends/predict/world.h"
#include "tools/predict/options.h"
#include "tp/core/mesh.h"
#include "tp/core/status.h"
#include "tp/program/program.h"

namespace tp::predict_tool {

// The step that the options ask for, on a mesh. Errors: those of the program.
StatusOr<Program> MakeStep(const PredictOptions& options, const TransformerStepOptions& step,
                           const Mesh& mesh, int64_t layers = 0, HideReport* hidden = nullptr);

struct Config {
  int tp = 1;
  int dp = 1;
  bool sequence_parallel = false;
  bool recompute = false;
  // Of the whole model; where that was not asked, the least that they are.
  double closed_seconds = 0;
  double memory_bytes = 0;
  bool fits = false;
  bool whole = false;
};
std::string NameOf(const Config& config);

// All meshes of the sweep, each with and without sequence parallelism and recomputation; by time,
// those that fit first. The `best` first ones are whole, and none is better than they are. Errors:
// INVALID_ARGUMENT where none can be built.
StatusOr<std::vector<Config>> Sweep(const PredictOptions& options, const predict::CostModel& model,
                                    size_t best);

// What a sweep takes of this machine's memory at the most, in bytes, with the predictions of those
// that are shown. Errors: as Sweep.
StatusOr<double> BytesToSweep(const PredictOptions& options, const predict::CostModel& model,
                              size_t best);

// One of them, whole; `hidden`, where given, says how the order of a transformer's ops was chosen.
StatusOr<predict::Prediction> PredictConfig(const PredictOptions& options, const Config& config,
                                            const predict::CostModel& model,
                                            HideReport* hidden = nullptr);

// What a sweep has found.
struct Plan {
  std::vector<Config> configs;             // as Sweep gives them
  std::vector<predict::Prediction> whole;  // of the first ones
  bool complete = true;                    // false: interrupted
};

// The sizes of the options' transformer that a step of the sweep has.
TransformerStepOptions StepOf(const PredictOptions& options, const Config& config);

}  // namespace tp::predict_tool
