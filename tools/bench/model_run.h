// A transformer's training step, measured: the step that tools/train trains, on its first batch,
// again and again, with weights drawn by the seed.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tools/bench/measured.h"
#include "tools/bench/options.h"
#include "tools/io/progress.h"
#include "tools/train/model_flags.h"
#include "tp/core/status.h"
#include "tp/model/transformer.h"
#include "tp/runtime/backend.h"

namespace tp::bench {

// Floating-point operations of a step.
struct StepFlops {
  double model = 0;     // what the model asks for: ModelFlops, or PartFlops
  double program = 0;   // what all ranks do, by the letters of their ops: twice the points of all
                        // but one operand
  double products = 0;  // of these, in matrix products
};

struct ModelRun {
  std::vector<std::pair<std::string, std::string>> host;
  TransformerConfig sizes;
  StepFlops flops;
  std::optional<MeasuredStep> step;  // none where the run ended before a step was timed
  std::vector<double> losses;        // of each step, warm-up too; none of a part
  std::optional<double> peak;        // FLOP/s of all ranks' products: measured
  bool complete = true;              // false: interrupted

  // The first step, from 1, whose loss is no finite number: from there on it is no training.
  std::optional<size_t> lost() const;
  bool ok() const { return complete && step && step->ok() && !lost(); }
};

// On rank 0's process; each may be empty.
struct ModelHooks {
  std::function<void(const ModelRun&)> started = nullptr;  // nothing can be refused any more
  // A signal before the first step has ended: writes what is there, and then the process ends.
  // Later ones end the run after the step at hand. Where this is empty, it takes no notice of
  // signals.
  std::function<void(const ModelRun&)> interrupted = nullptr;
  io::Progress* progress = nullptr;
};

// Where another process has rank 0, the result has no step. Errors: what the flags name can't be
// had, or does not fit into memory; the backend's.
StatusOr<ModelRun> RunModel(Backend& backend, const BenchOptions& options,
                            const train::ModelOptions& model, const ModelHooks& hooks);

}  // namespace tp::bench
