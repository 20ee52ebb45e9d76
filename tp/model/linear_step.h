// The training step that the benchmark runs: one linear layer, mean squared error, SGD.
//
// From options to a verified Program: the layer's forward (tp/layers/linear.h), the loss, the
// reverse pass with the gradient in x, the update, and the passes. Over dp the batch is sharded and
// the gradients of w and b are summed: the loss is the mean over the global batch, so the sum of
// the ranks' gradients is the average that data parallelism means.
#pragma once

#include <cstdint>
#include <optional>

#include "tp/core/dtype.h"
#include "tp/core/mesh.h"
#include "tp/core/status.h"
#include "tp/core/sum_order.h"
#include "tp/layers/linear.h"
#include "tp/program/program.h"

namespace tp {

struct LinearStepOptions {
  LinearMode mode = LinearMode::kRow;
  int64_t tokens = 20;
  int64_t in_features = 1000;
  int64_t out_features = 1000;
  DType dtype = DType::kFloat32;
  double learning_rate = 0.01;
  // The loss is this times the sum of squared errors; absent, 1 / (tokens * out_features).
  std::optional<double> loss_scale;
  // Invariant: the same bits in every result for every tp that divides kSumBlocks, in both modes.
  SumOrder sum_order = SumOrder::kFast;
  // Without the passes the program is as the layer wrote it: for tests that compare the two.
  bool optimize = true;
};

// The step for `mesh`, which decides nothing but the order of ops.
// Inputs "x" [tokens, in], "targets" [tokens, out]; parameters "w" [out, in], "b" [out]; results
// "y", "loss", "dx", "dw", "db" by these names. Errors: INVALID_ARGUMENT for sizes below 1 or a
// product of sizes beyond 2^48 elements.
StatusOr<Program> MakeLinearStep(const LinearStepOptions& options, const Mesh& mesh);

// The scale that the options stand for.
double LossScale(const LinearStepOptions& options);

}  // namespace tp
