#include "tp/core/elementary.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace tp {
namespace {

// Of the C library's functions in double, or of two of them: glibc's manual says 2 ulps at most.
constexpr double kDoubleError = 8 * BoundedNumber::kOwnRoundoff;

double Derivative(Function function, double x) {
  const double y = Apply(function, x);
  switch (function) {
    case Function::kExp:
      return y;
    case Function::kLog:
      return 1 / x;
    case Function::kSqrt:
      return 0.5 / y;
    case Function::kRsqrt:
      return -0.5 * y / x;
    case Function::kTanh:
      return 1 - y * y;
    case Function::kSigmoid:
      return y * (1 - y);
    case Function::kErf:
      return 2 * std::numbers::inv_sqrtpi * std::exp(-x * x);
  }
  LOG(FATAL) << "no such function: " << static_cast<int>(function);
}

}  // namespace

std::string_view Name(Function function) {
  constexpr std::string_view kNames[] = {"exp", "log", "sqrt", "rsqrt", "tanh", "sigmoid", "erf"};
  return kNames[static_cast<size_t>(function)];
}

double Apply(Function function, double x) {
  switch (function) {
    case Function::kExp:
      return std::exp(x);
    case Function::kLog:
      return std::log(x);
    case Function::kSqrt:
      return std::sqrt(x);
    case Function::kRsqrt:
      return 1 / std::sqrt(x);
    case Function::kTanh:
      return std::tanh(x);
    case Function::kSigmoid:
      // Both ends to full precision.
      return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x));
    case Function::kErf:
      return std::erf(x);
  }
  LOG(FATAL) << "no such function: " << static_cast<int>(function);
}

DualNumber Apply(Function function, DualNumber x) {
  return {Apply(function, x.value), Derivative(function, x.value) * x.derivative};
}

BoundedNumber Apply(Function function, BoundedNumber x) {
  const Rounding& r = RoundingScope::Current();
  const double value = Apply(function, x.value);
  if (x.shares) return BoundedNumber::Unbounded(value);  // a function of shares is no share of it
  const double low = Apply(function, x.value - x.error);
  const double high = Apply(function, x.value + x.error);
  const double largest = std::max({std::abs(low), std::abs(value), std::abs(high)});
  if (r.functions == nullptr || !std::isfinite(largest)) return BoundedNumber::Unbounded(value);
  const FunctionError& own = r.functions->Of(function);
  // A least of 0 leaves nothing out, not even where an uncertain argument may be 0.
  const bool too_small = own.least > 0 && std::abs(x.value) - x.error < own.least;
  if (too_small && (x.value != 0 || x.error != 0)) return BoundedNumber::Unbounded(value);
  if (largest >= own.overflow) return BoundedNumber::Unbounded(value);
  const double ulp = std::ldexp(1.0, std::max(std::ilogb(largest), -126) - 23);
  double bound = std::max(std::abs(high - value), std::abs(value - low)) + kDoubleError * largest;
  bound = (bound + own.ulps * ulp + own.below) * BoundedNumber::kSlack;
  if (!(largest + bound <= r.largest)) return BoundedNumber::Unbounded(value);
  return {value, bound, std::abs(value), 0};
}

}  // namespace tp
