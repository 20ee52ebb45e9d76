// What kernels that know two dimensions take of an op's views: matrices, and batches of them.
//
// A kernel of matrices is given views with dimensions merged, where two are enough, and cuBLASLt
// one loop of a product as a batch.
#pragma once

#include <optional>
#include <vector>

#include "backends/nccl/kernels/matrix.h"
#include "tp/core/status.h"
#include "tp/core/sum_order.h"
#include "tp/schedule/schedule.h"

namespace tp::nccl {

// The views of an op that is no product, with two dimensions at most. A loss in the invariant order
// is not merged: its order is that of its matrix' rows and columns. Errors: UNAVAILABLE, naming the
// op, where two are not enough.
struct MatrixViews {
  std::vector<View> reads, writes;
};
StatusOr<MatrixViews> AsMatrices(const ScheduledOp& op, SumOrder order);

// The first matrices of a product, and how many there are.
struct ProductViews {
  View a, b, c;
  std::optional<View> added;  // a bias to a batch of one only
  Batch batch;
};
// Nothing for a product of another form, or with a matrix that lies neither along its rows nor
// along its columns.
std::optional<ProductViews> AsBatch(const ScheduledOp& op);

}  // namespace tp::nccl
