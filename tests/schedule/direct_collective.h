// Collectives as their definitions have them: direct loops over what the members send.
#pragma once

#include <cstddef>
#include <vector>

#include "tp/core/collective.h"
#include "tp/core/dtype.h"

namespace tp {

// The sum, or the greater or lesser of two numbers; NaN where one is.
double Reduced(Reduction reduction, double a, double b);

// What a collective leaves with member `me`, given what each member sends. No broadcast, no
// barrier.
std::vector<double> ReceivedBy(size_t me, const CollectiveCall& call,
                               const std::vector<std::vector<double>>& sent);

}  // namespace tp
