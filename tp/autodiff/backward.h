// The reverse pass: appends to a Program the ops that compute gradients of its loss.
//
// One rule an op (reverse-mode differentiation; Griewank & Walther, "Evaluating Derivatives", 2nd
// ed., ch. 3). Gradients have placements like every value, so the communication of the backward
// pass follows from the rules: a redistribute's gradient is brought to the Dual (placement.h) of
// what the redistribute started from. Where an all-gather's gradient is replicated that is a slice;
// where it is partial it is a reduce-scatter; it is never guessed.
#pragma once

#include <vector>

#include "tp/core/status.h"
#include "tp/program/program.h"

namespace tp {

// Appends the reverse pass of `loss`, a scalar whose op can start one, or a sum (add) of such, and
// returns the gradient of each of `wrt`, placed as the Dual of its value. What several ops
// contribute is added up while it is Partial, so that ranks sum once for all of them. The gradient
// of "w" is named "dw", unless it is that of another value too (for y = x + b that of x is "dy");
// what a redistribute completes is named "dw.partial" (or ".shard") before it, and what is added to
// more "dw.part". Redistributes of a parameter's gradient are of phase kGradientSync, all else is
// kBackward. Errors: INVALID_ARGUMENT where an op on the way has no reverse rule, or one that takes
// no gradient of an output that the loss depends on, or gives none of an operand that depends on
// one of `wrt`; where no gradient can start at `loss`; or where it does not depend on one of `wrt`.
StatusOr<std::vector<ValueId>> AddBackward(Program& program, ValueId loss,
                                           const std::vector<ValueId>& wrt);

// The same, but the gradients are as they come, Partial where that is what their ops make: for one
// that adds more to them before they are made whole.
StatusOr<std::vector<ValueId>> AddUnfinishedBackward(Program& program, ValueId loss,
                                                     const std::vector<ValueId>& wrt);

// Like AddBackward, but from `y`, of any shape, whose gradient is `dy`: what the gradients of
// sum(y * dy) are. Errors: INVALID_ARGUMENT also where `dy` does not lie as the Dual of `y`, or is
// of another shape or type.
StatusOr<std::vector<ValueId>> AddBackwardFrom(Program& program, ValueId y, ValueId dy,
                                               const std::vector<ValueId>& wrt);

// Appends what makes `gradient`, which is "dw", the whole gradient of parameter `w`.
StatusOr<ValueId> FinishGradient(Program& program, ValueId w, ValueId gradient);

}  // namespace tp
