// Lowering of sums in the invariant order (tp/core/sum_order.h): of products, of rows, and of what
// else sums over a letter and has a launch that follows the tree.
//
// The tree runs along the first letter that is summed over; of others that are, all points of one
// index of it are terms one after the other, in the order in which the op names them. So no rank
// may have a part of those. Kernels take matrices: what does not lie as one, its letters in that
// order, is copied first.
#pragma once

#include "tp/core/status.h"
#include "tp/program/program.h"
#include "tp/schedule/draft.h"

namespace tp {

// Errors: INVALID_ARGUMENT for letters that are no product of two factors, and where another letter
// than the first is cut.
Status LowerBlockedProduct(const Op& op, ScheduleDraft& draft);
Status LowerBlockedSum(const Op& op, ScheduleDraft& draft);

}  // namespace tp
