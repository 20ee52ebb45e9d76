// Numbers by index that are cheaper to work out many at a time. A source of elements (a
// std::function) that holds one of them gives the same numbers either way.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <functional>
#include <span>

#include "tp/core/random.h"

namespace tp {

// One and the same.
struct EqualNumbers {
  double value = 0;

  double operator()(int64_t) const { return value; }
  void Fill(int64_t, std::span<double> numbers) const { std::ranges::fill(numbers, value); }
};

// Uniform in [-most, most).
struct UniformNumbers {
  double most = 1;
  RandomTensor random;

  double operator()(int64_t index) const {
    return most * random.Uniform(static_cast<uint64_t>(index));
  }
  void Fill(int64_t first, std::span<double> numbers) const {
    random.FillUniform(static_cast<uint64_t>(first), numbers);
    for (double& number : numbers) number *= most;
  }
};

// source(first), source(first + 1), ...
inline void FillFromSource(const std::function<double(int64_t)>& source, int64_t first,
                           std::span<double> numbers) {
  if (const auto* equal = source.target<EqualNumbers>()) return equal->Fill(first, numbers);
  if (const auto* uniform = source.target<UniformNumbers>()) return uniform->Fill(first, numbers);
  for (double& number : numbers) number = source(first++);
}

// Whether it is known that all bits of all its numbers are 0.
inline bool IsKnownZero(const std::function<double(int64_t)>& source) {
  const auto* equal = source.target<EqualNumbers>();
  return equal != nullptr && std::bit_cast<uint64_t>(equal->value) == 0;
}

}  // namespace tp
