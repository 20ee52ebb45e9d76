// A gradient's name, and how it comes to lie where it is wanted.
#pragma once

#include <string>

#include "tp/core/status.h"
#include "tp/program/program.h"

namespace tp {

// "dw" of "w".
std::string GradientName(const Program& program, ValueId id);

// Redistributes `gradient` towards the gradient of `id`, which takes over the plain name.
StatusOr<ValueId> RedistributeGradient(Program& program, ValueId id, ValueId gradient, Axis axis,
                                       Placement to, Phase phase);

// The same on all axes, in an order in which redistributes may change them. Errors:
// INVALID_ARGUMENT where there is none.
StatusOr<ValueId> BringGradientTo(Program& program, ValueId id, ValueId gradient,
                                  const Placements& to, Phase phase);

}  // namespace tp
