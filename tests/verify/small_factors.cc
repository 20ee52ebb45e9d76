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
  const auto within = [](int begin, int end) {
    return *rc::gen::resize(rc::kNominalSize, rc::gen::inRange(begin, end));
  };
  if (within(0, one_in) != 0) return;
  const double small = DrawSubnormal(spec->dtype);
  spec->x_size = std::ldexp(1.0, within(-2, 3));
  if (*rc::gen::arbitrary<bool>()) {
    const int largest = std::ilogb(MaxFinite(spec->dtype));  // gradients stay just below it
    spec->learning_rate = small;
    spec->loss_scale = std::ldexp(1.0, largest - within(5, 12));
    spec->w_size = 0x1p-24;
    spec->target_size = 1;
  } else {
    spec->loss_scale = small;
    spec->learning_rate = std::ldexp(1.0, within(0, 60));
    spec->target_size = 0x1p10;
  }
}

}  // namespace tp::verify
