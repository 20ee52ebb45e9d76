// The tensors that a run starts from: read from .npy files, or generated.
//
// Generated ones are counter-based random numbers of the seed (tp/core/random.h), indexed by
// element of the global tensor: x and targets uniform in [-1, 1), w and b uniform within
// 1/sqrt(in_features), as PyTorch's nn.Linear begins. All are rounded to the run's element type.
#pragma once

#include <map>
#include <string>

#include "tools/benchmark/options.h"
#include "tp/core/host_tensor.h"
#include "tp/core/status.h"
#include "tp/runtime/trainer.h"
#include "tp/verify/reference.h"

namespace tp::bench {

struct TrainingData {
  // "x", "targets", "w", "b"; elements already rounded to the dtype.
  std::map<std::string, ElementSource> sources;
  // The same as whole tensors, for the reference; empty where nothing is to be verified.
  verify::LinearProblem problem;
};

// Errors: what the files lack, named; a value that is NaN or infinite, also after rounding.
StatusOr<TrainingData> MakeData(const BenchOptions& options);

}  // namespace tp::bench
