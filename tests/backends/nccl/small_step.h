// A step small enough for many runs, and what runs it on GPUs. What fails ends the process.
#pragma once

#include <glog/logging.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "backends/nccl/backend.h"
#include "tools/measure/train.h"
#include "tp/core/random.h"
#include "tp/model/linear_step.h"

namespace tp::nccl {

inline std::unique_ptr<Backend> MustMakeBackend(const Options& options) {
  auto backend = MakeBackend(options);
  CHECK(backend.ok()) << backend.status().ToString();
  return *std::move(backend);
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
  auto program = MakeLinearStep(options, mesh);
  CHECK(program.ok()) << program.status().ToString();
  return *std::move(program);
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
  auto result = Train(*backend, mesh, MustMakeStep(step, mesh), Sources(), Short());
  CHECK(result.ok()) << result.status().ToString();
  return *std::move(result);
}

}  // namespace tp::nccl
