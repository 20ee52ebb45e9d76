// The invariant lane of a transformer: every parameter and every result after the last step, and so
// the gradients that made them, to the bit, whatever the tp (invariant.h).
#pragma once

#include "tools/bench/options.h"
#include "tools/train/model_flags.h"
#include "tools/verify/invariant.h"
#include "tp/core/status.h"
#include "tp/runtime/backend.h"

namespace tp::verifier {

// `engine.steps` steps on the same batch. Where another process has rank 0, no run differs. Errors:
// as RunInvariant; those of the model's files.
StatusOr<InvariantResult> RunModelInvariant(Backend& backend, const train::ModelOptions& model,
                                            const bench::BenchOptions& engine);

}  // namespace tp::verifier
