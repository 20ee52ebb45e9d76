// A sharded training step of one linear layer, simulated with every rounding that a real one makes.
//
// It stands for any correct implementation: partial sums in any order, reductions along any tree,
// the bias in the accumulator or after the store. And for incorrect ones: one defect can be
// planted. It shares no code with tp/verify.
#pragma once

#include <cstdint>
#include <optional>

#include "tp/verify/bounds.h"
#include "tp/verify/reference.h"
#include "tp/verify/report.h"

namespace tp::verify {

enum class Defect {
  kNone,
  kBiasOnEveryRank,  // column: added to each share of Y
  kBiasMissing,
  kYReduceMissing,   // column: Y is the first rank's share
  kYShareDropped,    // column: the last rank's share is lost in half of the elements
  kYShareTwice,      // column: the last rank's share is counted twice in half of the elements
  kYMaximum,         // column: maximum where the sum was meant
  kYAverage,         // column: average where the sum was meant
  kYRankMajor,       // row: gathered shards one after the other
  kYTransposed,      // row: feature-major
  kYShardsSwapped,   // row: shards 0 and 1
  kYShardMissing,    // row: the last rank's shard is zero
  kDxReduceMissing,  // row: dX is the first rank's share
  kDxScaledByTp,
  kDxShardsSwapped,   // column: shards 0 and 1
  kDwReduceMissing,   // dp: dW is the first replica's share
  kDwAveragedOverDp,  // dp: average where the sum was meant
  kDwAveragedOverTp,
  kDwTransposed,  // laid out [in, out]
  kDbScaledByTp,
  kUpdateMissing,  // W stays as it was
  kUpdateOnce,     // the last update is missing
  kUpdateSign,
  kStaleWeights,       // the forward pass of each later step reads the weights of the step before
  kLossAveragedTwice,  // divided by the number of tokens once more
  kReduceInBf16,       // shares of Y and dX travel in bf16
  kNanInY,
};

struct Simulation {
  uint64_t seed = 0;                 // of every order that is free
  bool balanced = false;             // reduce along a balanced tree, rather than any order
  bool bias_in_accumulator = false;  // row mode: rather than after the store
  Defect defect = Defect::kNone;
};

Observed Simulate(const LinearProblem& problem, const NumericModel& model,
                  const Simulation& simulation);

// Uniform inputs: x of magnitude `x_size`, w and b of 1 / sqrt(K) as PyTorch draws them, targets of
// magnitude 1.
struct RandomSpec {
  int64_t tokens = 1;
  int64_t in_features = 1;
  int64_t out_features = 1;
  DType dtype = DType::kFloat32;
  int steps = 1;
  double learning_rate = 0.01;
  double x_size = 1;
  double w_size = 1;  // of w and b, times what PyTorch draws
  double target_size = 1;
  std::optional<double> loss_scale = {};  // the mean, where not given
  uint64_t seed = 0;
};
LinearProblem RandomProblem(const RandomSpec& spec);

}  // namespace tp::verify
