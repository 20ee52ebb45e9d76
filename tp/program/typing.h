// Typing: which operands an op accepts, and what it yields. All of it follows from the op's letters
// (letters.h), one mesh axis at a time; the axes are independent.
//
// What cannot be right does not build: a bias added to a Partial value by every rank, a loss of a
// Partial value, an optimizer that reads a Partial gradient.
#pragma once

#include <vector>

#include "tp/core/status.h"
#include "tp/program/letters.h"
#include "tp/program/program.h"

namespace tp {

// The letters of an op on its operands, without "*". Errors: INVALID_ARGUMENT where the operands
// are too few, too many, or have other numbers of dimensions.
StatusOr<Letters> LettersOf(const Program& program, const Op& op);

// Shape, type and placements (no names) of what `op` yields from its inputs. Not for sources, which
// have none, and redistributes, whose target is free: see CheckTypes.
// Errors: INVALID_ARGUMENT that says which rule is broken, on which axis, and what to do.
StatusOr<std::vector<Value>> InferOutputs(const Program& program, const Op& op);

// Whether op's attributes are those that its OpDef has, and its outputs have the types that its
// rule gives.
Status CheckTypes(const Program& program, const Op& op);

// Whether a redistribute from one placement to another on one axis means anything. What is
// replicated becomes Partial, a sum, on the axis's first rank; the others have zeros.
Status CheckRedistribute(Placement from, Placement to);

}  // namespace tp
