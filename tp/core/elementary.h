// Elementary functions over the number types of references.
//
// With `double` they are the C library's, with DualNumber their derivative as well, with
// BoundedNumber a bound on what an implementation's own may give: all are monotone, so what an
// uncertain argument does is what its ends do; and how far the function itself is off is no guess
// and no promise, but the maximum over all floats of the very function that was compiled, which
// each backend has worked out (backends/cpu/functions.h, for one). Where nobody has, the bound is
// infinite, and a verification undecided.
#pragma once

#include <array>
#include <limits>
#include <string_view>

#include "tp/core/bounded.h"
#include "tp/core/dual.h"

namespace tp {

enum class Function { kExp, kLog, kSqrt, kRsqrt, kTanh, kSigmoid, kErf };
inline constexpr int kNumFunctions = 7;
inline constexpr std::array<Function, kNumFunctions> kAllFunctions = {
    Function::kExp,  Function::kLog,     Function::kSqrt, Function::kRsqrt,
    Function::kTanh, Function::kSigmoid, Function::kErf};
// "exp", "log", "sqrt", "rsqrt", "tanh", "sigmoid", "erf".
std::string_view Name(Function function);

// How far an implementation in fp32 is from the exact value, at the worst of all floats.
struct FunctionError {
  double ulps = 0;   // in units of the last place of the exact value, where that is normal
  double below = 0;  // absolute, where it is below the normal range
  // Of arguments below this, in magnitude, but for 0, nothing is said: 0, or the least normal
  // number.
  double least = 0;
  // From here on it may overflow already; what it gives is otherwise a number.
  double overflow = std::numeric_limits<double>::infinity();
};
struct FunctionErrors {
  std::array<FunctionError, kNumFunctions> of = {};

  const FunctionError& Of(Function function) const { return of[static_cast<size_t>(function)]; }
};

// 1 / sqrt(x); 1 / (1 + exp(-x)).
double Apply(Function function, double x);
DualNumber Apply(Function function, DualNumber x);
BoundedNumber Apply(Function function, BoundedNumber x);

}  // namespace tp
