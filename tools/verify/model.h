// A step of a transformer, proved op by op: every value of it, on the weights and tokens that the
// flags name, against what its op makes of the values that it read (tp/verify/op_by_op.h).
#pragma once

#include <string>

#include "tools/bench/options.h"
#include "tools/io/progress.h"
#include "tools/train/model_flags.h"
#include "tp/core/mesh.h"
#include "tp/core/status.h"
#include "tp/runtime/backend.h"
#include "tp/verify/op_by_op.h"

namespace tp::verifier {

struct ModelResult {
  std::string head;  // which model, and how it is split
  verify::OpByOpReport report;
};

// The last of engine.steps steps; `progress` may be null. Where another process has rank 0, the
// report is empty. Errors: no such model, what files lack, the backend's.
StatusOr<ModelResult> RunModel(Backend& backend, const train::ModelOptions& model,
                               const bench::BenchOptions& engine, io::Progress* progress);

std::string RenderModelResult(const bench::BenchOptions& engine, const ModelResult& result);

}  // namespace tp::verifier
