// Shape: the sizes of a tensor, outermost first. A scalar has none.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tp {

using Shape = std::vector<int64_t>;

// The most dimensions that a value of a Program may have.
inline constexpr int kMostDims = 6;

// The product of the sizes; 1 for a scalar.
inline int64_t NumElements(const Shape& shape) {
  int64_t count = 1;
  for (int64_t size : shape) count *= size;
  return count;
}

// "[20, 1000]".
inline std::string ToString(const Shape& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

}  // namespace tp
