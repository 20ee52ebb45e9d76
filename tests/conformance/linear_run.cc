#include "tests/conformance/linear_run.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <utility>

#include "tp/core/random.h"
#include "tp/model/linear_step.h"

namespace tp::conformance {
namespace {

HostTensor Uniform(const Shape& shape, DType dtype, const RandomTensor& random, double magnitude) {
  HostTensor tensor(shape, dtype);
  for (int64_t i = 0; i < tensor.size(); ++i) {
    tensor.Set(i, magnitude * random.Uniform(static_cast<uint64_t>(i)));
  }
  return tensor;
}

bool SameBits(const HostTensor& a, const HostTensor& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() &&
         std::equal(a.bytes().begin(), a.bytes().end(), b.bytes().begin(), b.bytes().end());
}

}  // namespace

std::string ToString(const LinearShape& shape) {
  return std::to_string(shape.tokens) + " x " + std::to_string(shape.in_features) + " -> " +
         std::to_string(shape.out_features);
}

verify::LinearProblem RandomProblem(const LinearShape& shape, DType dtype, int steps,
                                    uint64_t seed) {
  const auto [m, k, n] = shape;
  const double spread = 1 / std::sqrt(static_cast<double>(k));
  verify::LinearProblem problem;
  problem.x = Uniform({m, k}, dtype, RandomTensor(seed, 1), 1);
  problem.targets = Uniform({m, n}, dtype, RandomTensor(seed, 2), 1);
  problem.w = Uniform({n, k}, dtype, RandomTensor(seed, 3), spread);
  problem.b = Uniform({n}, dtype, RandomTensor(seed, 4), spread);
  problem.learning_rate = 0.7;
  problem.steps = steps;
  return problem;
}

StatusOr<LinearRun> RunLinear(Backend& backend, const Mesh& mesh,
                              const verify::LinearProblem& problem, LinearMode mode, bool optimize,
                              SumOrder sum_order) {
  LinearStepOptions options;
  options.mode = mode;
  options.tokens = problem.tokens();
  options.in_features = problem.in_features();
  options.out_features = problem.out_features();
  options.dtype = problem.x.dtype();
  options.learning_rate = problem.learning_rate;
  options.loss_scale = problem.loss_scale;
  options.optimize = optimize;
  options.sum_order = sum_order;
  LinearRun run;
  TP_ASSIGN_OR_RETURN(run.program, MakeLinearStep(options, mesh));
  const auto source = [](const HostTensor& tensor) {
    return [&tensor](int64_t index) { return tensor.At(index); };
  };
  const std::map<std::string, ElementSource> sources = {{"x", source(problem.x)},
                                                        {"targets", source(problem.targets)},
                                                        {"w", source(problem.w)},
                                                        {"b", source(problem.b)}};
  TrainOptions train;
  train.warmup = 0;
  train.steps = problem.steps;
  TP_ASSIGN_OR_RETURN(run.result, Train(backend, mesh, run.program, sources, train));
  verify::Observed& observed = run.observed;
  observed.y = run.result.first.at("y");
  observed.dx = run.result.first.at("dx");
  observed.dw = run.result.first.at("dw");
  observed.db = run.result.first.at("db");
  observed.w = run.result.last.at("w");
  observed.b = run.result.last.at("b");
  observed.losses = run.result.losses;
  return run;
}

std::string DifferentBits(const LinearRun& a, const LinearRun& b) {
  std::string different;
  for (verify::Quantity quantity : verify::kAllQuantities) {
    bool same;
    if (quantity == verify::Quantity::kLoss) {
      same = std::equal(a.observed.losses.begin(), a.observed.losses.end(),
                        b.observed.losses.begin(), b.observed.losses.end(), [](double x, double y) {
                          return std::bit_cast<uint64_t>(x) == std::bit_cast<uint64_t>(y);
                        });
    } else {
      same = SameBits(a.observed.Of(quantity), b.observed.Of(quantity));
    }
    if (!same) different += (different.empty() ? "" : ", ") + std::string(verify::Name(quantity));
  }
  return different;
}

verify::NumericModel ModelOf(const verify::LinearProblem& problem, LinearMode mode,
                             const Mesh& mesh) {
  return verify::MakeModel(problem.x.dtype(),
                           mode == LinearMode::kRow ? verify::Mode::kRow : verify::Mode::kColumn,
                           mesh.Size(Axis::kTp), mesh.Size(Axis::kDp));
}

}  // namespace tp::conformance
