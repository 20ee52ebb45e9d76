// What the kernels of the GPU take of an op's views: matrices, and batches of them.
//
// Kernels know two dimensions. An op of more that goes element by element is given its views with
// dimensions merged, where two are enough; a matrix product, one loop as a batch. Errors, all
// UNAVAILABLE, name the op and are known before anything runs.
#pragma once

#include <optional>
#include <vector>

#include "backends/nccl/kernels/matrix.h"
#include "tp/core/status.h"
#include "tp/core/sum_order.h"
#include "tp/schedule/schedule.h"

namespace tp::nccl {

// The views of an op that is no product, with two dimensions at most. A loss in the invariant order
// is not merged: its order is that of its matrix' rows and columns.
struct MatrixViews {
  std::vector<View> reads, writes;
};
StatusOr<MatrixViews> AsMatrices(const ScheduledOp& op, SumOrder order);

// The first matrices of a product, and how many there are.
struct ProductViews {
  View a, b, c;
  std::optional<View> bias;  // of a batch of one only
  Batch batch;
};
StatusOr<ProductViews> AsBatch(const ScheduledOp& op);

// Whether all ops of the schedule can be had so.
Status CheckViews(const Schedule& schedule);

}  // namespace tp::nccl
