// Roundoff: what rounding costs, one operation or many, in each element type.
//
// Sources: N. J. Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., SIAM 2002,
// chapters 2 (underflow) and 3 (gamma_n); N. J. Higham and T. Mary, "A new approach to
// probabilistic rounding error analysis", SIAM J. Sci. Comput. 41(5), 2019 (the probabilistic
// gamma).
#pragma once

#include "tp/core/dtype.h"

namespace tp {

// n u / (1 - n u), the factor by which n roundings can be off; infinite where n u >= 1.
double Gamma(double n, double u);

// exp(lambda sqrt(n) u + n u^2 / (1 - u)) - 1: what n roundings with independent errors of mean
// zero stay below, but for a chance that `lambda` sets.
double ProbabilisticGamma(double n, double u, double lambda);

// The lambda with which `roundings` roundings of a whole run all stay below, but for a chance of
// `risk`: sqrt(2 ln(2 roundings / risk)) / (1 - u).
double Lambda(double roundings, double risk, double u);

// The relative error of a result that is computed in the accumulator's type and stored in `dtype`:
// two roundings where these differ.
double StoreRoundoff(DType dtype);

// Half the smallest subnormal, the absolute error of a rounding below the normal range; of fp64,
// whose half is no number, all of it.
double UnderflowUnit(DType dtype);

}  // namespace tp
