// Trains a linear layer on a 2 x 2 mesh of threads, as another project would: this folder is a
// workspace of its own. Copied beside a clone of the engine that is named tensor_parallel:
//   bazel run //:train
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "backends/cpu/backend.h"
#include "tp/core/host_tensor.h"
#include "tp/core/mesh.h"
#include "tp/core/random.h"
#include "tp/core/status.h"
#include "tp/model/linear_step.h"
#include "tp/runtime/session.h"

namespace {

tp::StatusOr<std::vector<double>> TrainFourRanks(const std::string& folder) {
  // [README]
  // A 2 x 2 mesh: the layer split over tp, the batch over dp.
  TP_ASSIGN_OR_RETURN(const tp::Mesh mesh, tp::Mesh::Create(/*tp=*/2, /*dp=*/2));

  tp::LinearStepOptions step;
  step.mode = tp::LinearMode::kColumn;
  step.tokens = 64;
  step.in_features = 100;
  step.out_features = 30;
  step.learning_rate = 10;  // the loss is a mean, and its gradient small
  TP_ASSIGN_OR_RETURN(const tp::Program program, tp::MakeLinearStep(step, mesh));

  // The ranks are threads of this process, and live as long as the session.
  const std::unique_ptr<tp::Backend> backend = tp::cpu::MakeCpuBackend({});
  TP_ASSIGN_OR_RETURN(const std::unique_ptr<tp::Session> session,
                      tp::Session::Create(*backend, mesh, program));

  // Each rank asks for the elements that it owns, by their index in the whole tensor.
  const auto random = [](uint64_t stream) {
    return [numbers = tp::RandomTensor(/*seed=*/1, stream)](int64_t i) {
      return numbers.Uniform(static_cast<uint64_t>(i));
    };
  };
  TP_RETURN_IF_ERROR(session->Write("w", random(0)));
  TP_RETURN_IF_ERROR(session->Write("b", random(1)));

  std::vector<double> losses;
  for (uint64_t batch = 0; batch < 20; ++batch) {
    // What is fed is for the next step, and travels while the one before runs.
    TP_RETURN_IF_ERROR(session->Feed("x", random(10 + batch)));
    TP_RETURN_IF_ERROR(session->Feed("targets", [](int64_t) { return 0.5; }));
    TP_RETURN_IF_ERROR(session->Step());
    // Reading waits for the step. It need not be done after each.
    TP_ASSIGN_OR_RETURN(const tp::HostTensor loss, session->Read("loss"));
    losses.push_back(loss.At(0));
  }
  TP_RETURN_IF_ERROR(session->Save(folder));  // w.npy and b.npy, for any other mesh, and for NumPy
  return losses;
  // [/README]
}

}  // namespace

int main() {
  const char* scratch = std::getenv("TEST_TMPDIR");  // where Bazel's tests may write
  const std::string folder = std::string(scratch == nullptr ? "/tmp" : scratch) + "/checkpoint";
  const tp::StatusOr<std::vector<double>> losses = TrainFourRanks(folder);
  if (!losses.ok()) {
    std::fprintf(stderr, "train: %s\n", losses.status().ToString().c_str());
    return 1;
  }
  for (const double loss : *losses) std::printf("loss %.6f\n", loss);
  std::printf("saved %s\n", folder.c_str());
  return losses->back() < losses->front() ? 0 : 1;  // it learns
}
