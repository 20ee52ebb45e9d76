#include "tp/optim/learning_rate.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace tp {

double LearningRate::At(int64_t step) const {
  if (step < warmup) return peak * static_cast<double>(step + 1) / static_cast<double>(warmup);
  const auto last = static_cast<double>(steps - 1);
  const auto top = static_cast<double>(std::max<int64_t>(warmup - 1, 0));
  if (static_cast<double>(step) >= last) return last > top ? least : peak;
  const double way = (static_cast<double>(step) - top) / (last - top);
  return least + (peak - least) * 0.5 * (1 + std::cos(std::numbers::pi * way));
}

double BiasCorrection(double beta, int64_t step) {
  // Of a power near 1 this keeps all digits.
  return -1 / std::expm1(static_cast<double>(step + 1) * std::log(beta));
}

}  // namespace tp
