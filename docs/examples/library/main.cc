// Trains a linear layer on a 2 x 2 mesh of threads, as another project would: this folder is a
// workspace of its own. Copied beside a clone of the engine that is named tensor_parallel:
//   bazel run //:train
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backends/cpu/backend.h"
#include "tp/core/mesh.h"
#include "tp/core/random.h"
#include "tp/core/status.h"
#include "tp/model/linear_step.h"
#include "tp/runtime/trainer.h"

namespace {

tp::StatusOr<std::vector<double>> TrainFourRanks() {
  // [README]
  // A 2 x 2 mesh: the layer split over tp, the batch over dp.
  TP_ASSIGN_OR_RETURN(const tp::Mesh mesh, tp::Mesh::Create(/*tp=*/2, /*dp=*/2));

  tp::LinearStepOptions step;
  step.mode = tp::LinearMode::kColumn;
  step.tokens = 64;
  step.in_features = 100;
  step.out_features = 30;
  TP_ASSIGN_OR_RETURN(const tp::Program program, tp::MakeLinearStep(step, mesh));

  // Each rank asks for the elements that it owns, by their index in the whole tensor.
  const auto random = [](uint64_t stream) {
    return [numbers = tp::RandomTensor(/*seed=*/1, stream)](int64_t i) {
      return numbers.Uniform(static_cast<uint64_t>(i));
    };
  };
  const std::map<std::string, tp::ElementSource> sources = {
      {"x", random(0)}, {"targets", random(1)}, {"w", random(2)}, {"b", random(3)}};

  const std::unique_ptr<tp::Backend> backend = tp::cpu::MakeCpuBackend({});
  TP_ASSIGN_OR_RETURN(const tp::TrainResult result,
                      tp::Train(*backend, mesh, program, sources, {.warmup = 0, .steps = 5}));
  // result.first holds y, dx, dw, db of the first step; result.last holds w and b after the last.
  return result.losses;
  // [/README]
}

}  // namespace

int main() {
  const tp::StatusOr<std::vector<double>> losses = TrainFourRanks();
  if (!losses.ok()) {
    std::fprintf(stderr, "train: %s\n", losses.status().ToString().c_str());
    return 1;
  }
  for (const double loss : *losses) std::printf("loss %.6f\n", loss);
  return losses->back() < losses->front() ? 0 : 1;  // it learns
}
