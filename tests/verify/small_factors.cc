#include "tests/verify/small_factors.h"

#include <rapidcheck.h>

#include <cmath>

namespace tp::verify {

double DrawSubnormal(DType dtype) {
  const DType wide = AccumulatorOf(dtype);
  const double smallest = 2 * UnitRoundoff(wide) * MinNormal(wide);
  return smallest * *rc::gen::element(0.35, 1.5, 20.65, 500.85, 27160.95);
}

void DrawFactors(int one_in, RandomSpec* spec) {
  if (*rc::gen::resize(rc::kNominalSize, rc::gen::inRange(0, one_in)) != 0) return;
  const double small = DrawSubnormal(spec->dtype);
  const double large = std::ldexp(1.0, *rc::gen::resize(rc::kNominalSize, rc::gen::inRange(0, 60)));
  const bool rate = *rc::gen::arbitrary<bool>();
  spec->learning_rate = rate ? small : large;
  spec->loss_scale = rate ? large : small;
}

}  // namespace tp::verify
