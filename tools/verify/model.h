// A step of a transformer, proved op by op: every value of it, on the weights and tokens that the
// flags name, against what its op makes of the values that it read (tp/verify/op_by_op.h); and the
// same bits for every tp.
#pragma once

#include <functional>
#include <optional>

#include "tools/io/progress.h"
#include "tools/verify/invariant.h"
#include "tools/verify/options.h"
#include "tp/core/status.h"
#include "tp/model/transformer.h"
#include "tp/runtime/backend.h"
#include "tp/verify/op_by_op.h"

namespace tp::verifier {

// What was not asked for is not there.
struct ModelResult {
  TransformerConfig sizes;
  std::optional<verify::OpByOpReport> ops, exact;
  std::optional<InvariantResult> invariant;
  bool complete = true;  // false: interrupted

  // The gravest of all that was asked for.
  verify::Outcome outcome() const;
};

enum class ModelLane { kOps, kExact, kInvariant };

// Each may be empty. On rank 0's process only.
struct ModelHooks {
  std::function<void(const ModelResult&, ModelLane)> lane_done = nullptr;
  // Ctrl-C: writes what is there, and then the process ends. Where this is empty, the run takes no
  // notice of signals.
  std::function<void(const ModelResult&)> interrupted = nullptr;
  io::Progress* progress = nullptr;
};

// Op by op the last of engine.steps steps. Where another process has rank 0, the reports are empty.
// Errors: no such model, what files lack, the backend's.
StatusOr<ModelResult> RunModel(Backend& backend, const VerifierOptions& options,
                               const ModelHooks& hooks);

}  // namespace tp::verifier
