#include "tests/backends/cpu/function_error.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

namespace tp::cpu {
namespace {

constexpr double kMinNormal = 0x1p-126;
// From half an ulp above the largest float on, infinity is the nearest.
constexpr double kOverflow = 0x1.ffffffp127;

}  // namespace

void WorstError::Judge(float x, double exact, float observed) {
  const bool infinite = std::isinf(observed) && std::signbit(observed) == std::signbit(exact);
  if (std::isfinite(exact) && infinite) {
    if (std::abs(exact) < kOverflow) overflow = std::min(overflow, std::abs(exact));
    return;
  }
  if (!std::isfinite(exact) || !std::isfinite(observed)) {
    const bool same = std::isnan(exact) ? std::isnan(observed) : infinite;
    if (!same && wrong++ == 0) first_wrong = x;
    return;
  }
  const double error = std::abs(static_cast<double>(observed) - exact);
  if (std::abs(exact) < kMinNormal) {
    below = std::max(below, error);
    return;
  }
  const int exponent = static_cast<int>(std::bit_cast<uint64_t>(exact) >> 52 & 0x7ffu) - 1023;
  const double inverse_ulp =
      std::bit_cast<double>(static_cast<uint64_t>(23 - exponent + 1023) << 52);
  if (error * inverse_ulp <= ulps) return;
  ulps = error * inverse_ulp;
  worst = x;
}

void WorstError::Include(const WorstError& other) {
  if (other.ulps > ulps) {
    ulps = other.ulps;
    worst = other.worst;
  }
  below = std::max(below, other.below);
  overflow = std::min(overflow, other.overflow);
  if (wrong == 0) first_wrong = other.first_wrong;
  wrong += other.wrong;
}

FunctionError MeasuredError::error() const {
  const bool worse =
      subnormal.ulps > normal.ulps || subnormal.wrong > 0 || subnormal.overflow < normal.overflow;
  return {.ulps = normal.ulps,
          .below = worse ? normal.below : std::max(normal.below, subnormal.below),
          .least = worse ? kMinNormal : 0,
          .overflow = normal.overflow};
}

MeasuredError MeasureError(Function function, const FloatFunction& implementation, uint64_t begin,
                           uint64_t end, uint64_t step) {
  constexpr size_t kBatch = 4096;
  std::vector<float> in(kBatch);
  std::vector<float> out(kBatch);
  MeasuredError measured;
  for (uint64_t next = begin; next < end;) {
    size_t count = 0;
    for (; count < kBatch && next < end; next += step) {
      const auto x = std::bit_cast<float>(static_cast<uint32_t>(next));
      if (!std::isnan(x)) in[count++] = x;
    }
    implementation(std::span(in).first(count), std::span(out).first(count));
    for (size_t i = 0; i < count; ++i) {
      const bool subnormal = in[i] != 0 && std::abs(in[i]) < 0x1p-126F;
      (subnormal ? measured.subnormal : measured.normal)
          .Judge(in[i], tp::Apply(function, static_cast<double>(in[i])), out[i]);
    }
  }
  return measured;
}

}  // namespace tp::cpu
