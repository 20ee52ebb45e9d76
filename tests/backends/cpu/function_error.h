// How far an elementary function is off, over floats by their bits.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <span>

#include "tp/core/elementary.h"

namespace tp::cpu {

// out[i] = f(in[i])
using FloatFunction = std::function<void(std::span<const float> in, std::span<float> out)>;

// The worst of some arguments; as in FunctionError, and where.
struct WorstError {
  double ulps = 0;
  float worst = 0;  // where that is
  double below = 0;
  double overflow = std::numeric_limits<double>::infinity();
  // Results that are a NaN or infinity and should not be, or that should be one and are not.
  int64_t wrong = 0;
  float first_wrong = 0;

  void Judge(float x, double exact, float observed);
  void Include(const WorstError& other);
};

struct MeasuredError {
  WorstError normal;     // of all arguments but these
  WorstError subnormal;  // which may be taken for 0

  // Of all arguments, or where the subnormal ones are worse, of the others.
  FunctionError error() const;
};

// Over every `step`-th float of those whose bits are in [begin, end); end may be 2^32. The exact
// value is the C library's in double, which is off by 2^-28 of what an ulp is here. What a NaN
// gives is not looked at.
MeasuredError MeasureError(Function function, const FloatFunction& implementation, uint64_t begin,
                           uint64_t end, uint64_t step);

}  // namespace tp::cpu
