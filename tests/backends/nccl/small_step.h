// A step small enough for many runs, and what runs it on GPUs. What fails ends the test, by an
// exception, and leaves the others to run.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "backends/nccl/backend.h"
#include "tools/measure/train.h"
#include "tp/core/random.h"
#include "tp/core/status.h"
#include "tp/model/linear_step.h"

namespace tp::nccl {

inline void Must(const Status& status) {
  if (!status.ok()) throw std::runtime_error(status.ToString());
}

template <typename T>
T Must(StatusOr<T> result) {
  Must(result.status());
  return *std::move(result);
}

inline std::unique_ptr<Backend> MustMakeBackend(const Options& options) {
  return Must(MakeBackend(options));
}

inline LinearStepOptions Small(LinearMode mode, DType dtype) {
  LinearStepOptions options;
  options.mode = mode;
  options.tokens = 20;
  options.in_features = 100;
  options.out_features = 101;  // does not divide
  options.dtype = dtype;
  options.learning_rate = 4;  // large enough for a bf16 weight to move, small enough to converge
  return options;
}

inline Program MustMakeStep(const LinearStepOptions& options, const Mesh& mesh) {
  return Must(MakeLinearStep(options, mesh));
}

inline std::map<std::string, ElementSource> Sources() {
  std::map<std::string, ElementSource> sources;
  uint64_t stream = 0;
  for (const char* name : {"x", "targets", "w", "b"}) {
    const RandomTensor random(7, stream++);
    sources[name] = [random](int64_t i) { return random.Uniform(i); };
  }
  return sources;
}

inline TrainOptions Short() {
  TrainOptions options;
  options.warmup = 1;
  options.steps = 3;
  options.time_products = true;
  return options;
}

inline TrainResult MustTrain(const Options& options, int tp, int dp,
                             const LinearStepOptions& step) {
  const auto backend = MustMakeBackend(options);
  const Mesh mesh = *Mesh::Create(tp, dp);
  return Must(Train(*backend, mesh, MustMakeStep(step, mesh), Sources(), Short()));
}

}  // namespace tp::nccl
