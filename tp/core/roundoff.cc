#include "tp/core/roundoff.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tp {

double Gamma(double n, double u) {
  const double nu = n * u;
  return nu < 1 ? nu / (1 - nu) : std::numeric_limits<double>::infinity();
}

double ProbabilisticGamma(double n, double u, double lambda) {
  return std::expm1(lambda * std::sqrt(n) * u + n * u * u / (1 - u));
}

double Lambda(double roundings, double risk, double u) {
  return std::sqrt(2 * std::log(2 * roundings / risk)) / (1 - u);
}

double StoreRoundoff(DType dtype) {
  const DType accumulator = AccumulatorOf(dtype);
  const double u = UnitRoundoff(dtype);
  if (dtype == accumulator) return u;
  const double u_accumulator = UnitRoundoff(accumulator);
  return u + u_accumulator + u * u_accumulator;
}

double UnderflowUnit(DType dtype) {
  // Half of fp64's smallest subnormal is none itself.
  return std::max(UnitRoundoff(dtype) * MinNormal(dtype),
                  std::numeric_limits<double>::denorm_min());
}

}  // namespace tp
