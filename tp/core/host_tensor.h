// HostTensor: a whole tensor in host memory, row-major, in its own element type.
//
// It is how tensors enter and leave the engine: loaded, generated, assembled from shards, dumped,
// verified. Elements read and written as double; a write rounds once to the tensor's type.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tp/core/dtype.h"
#include "tp/core/shape.h"

namespace tp {

class HostTensor {
 public:
  HostTensor() = default;
  // All zeros.
  HostTensor(Shape shape, DType dtype);

  const Shape& shape() const { return shape_; }
  DType dtype() const { return dtype_; }
  int64_t size() const { return NumElements(shape_); }

  // `index` counts elements row-major.
  double At(int64_t index) const;
  void Set(int64_t index, double value);

  // All elements, exactly.
  std::vector<double> ToDoubles() const;

  std::span<std::byte> bytes() { return bytes_; }
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  Shape shape_ = {0};
  DType dtype_ = DType::kFloat64;
  std::vector<std::byte> bytes_;
};

}  // namespace tp
