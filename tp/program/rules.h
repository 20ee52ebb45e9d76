// The typing rules of a Program: which placements an op accepts, and what it yields.
//
// Each rule looks at one mesh axis at a time; the axes are independent. A matrix product over a
// sharded contraction dimension yields Partial, over a sharded free dimension Shard. What cannot be
// right does not build: a bias added to a Partial value by every rank, a loss of a Partial value,
// an optimizer that reads a Partial gradient. The rules are those of PyTorch's DTensor for the same
// ops; the algebra behind them is distributivity of each op over the sum (or concatenation).
#pragma once

#include <vector>

#include "tp/core/status.h"
#include "tp/program/program.h"

namespace tp {

// Shape, type and placements (no names) of what `op` yields from its inputs. For kInput and
// kParameter, which have none, and the target of kRedistribute, which is free: see CheckTypes.
// Errors: INVALID_ARGUMENT that says which rule is broken, on which axis, and what to do.
StatusOr<std::vector<Value>> InferOutputs(const Program& program, const Op& op);

// Whether op's outputs have the types that its rule gives.
Status CheckTypes(const Program& program, const Op& op);

// Whether a redistribute from one placement to another on one axis means anything. What is
// replicated becomes Partial on the axis's first rank; the others have zeros.
Status CheckRedistribute(Placement from, Placement to);

}  // namespace tp
