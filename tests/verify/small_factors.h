// Learning rates and scales of a loss that lie below the normal range of their accumulator, and so
// have fewer bits than it.
#pragma once

#include "tests/verify/simulated_step.h"
#include "tp/core/dtype.h"

namespace tp::verify {

// To be called in a RapidCheck property: a positive number of `dtype`'s accumulator below its
// normal range, from less than one unit of it to some thousands, mostly none that it holds.
double DrawSubnormal(DType dtype);

// To be called in a RapidCheck property. In one of `one_in` cases the rate or the scale becomes
// such a number. All else is then such that the bits it lacks show: beside a small rate weights are
// tiny and gradients enormous, beside a small scale differences and the rate are large.
void DrawFactors(int one_in, RandomSpec* spec);

}  // namespace tp::verify
