// What kernels that know two dimensions take of an op's views: matrices, and batches of them.
//
// cuBLASLt is given one loop of a product as a batch.
#pragma once

#include <optional>
#include <string_view>

#include "backends/nccl/kernels/matrix.h"
#include "tp/core/status.h"
#include "tp/schedule/schedule.h"

namespace tp::nccl {

// Whether an op has views of two dimensions at most; `where` its kernel takes no others, begins
// what is said. Errors: UNAVAILABLE, naming the op and a view of more.
Status CheckMatrices(const ScheduledOp& op, std::string_view where);

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
