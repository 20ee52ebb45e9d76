// `bench --model=...`: measures a transformer's step, and tells.
#pragma once

#include "tools/bench/options.h"
#include "tools/io/outputs.h"
#include "tools/train/model_flags.h"
#include "tp/core/status.h"
#include "tp/runtime/backend.h"

namespace tp::bench {

// Returns the exit status, as bench.cc has them. Errors: what can't be run, or not be written.
StatusOr<int> BenchModel(Backend& backend, const BenchOptions& options,
                         const train::ModelOptions& model, io::Outputs& outputs);

}  // namespace tp::bench
