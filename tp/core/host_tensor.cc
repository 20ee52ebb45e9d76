#include "tp/core/host_tensor.h"

#include <utility>

namespace tp {

HostTensor::HostTensor(Shape shape, DType dtype) : shape_(std::move(shape)), dtype_(dtype) {
  bytes_.resize(static_cast<size_t>(NumElements(shape_) * SizeOf(dtype_)));
}

double HostTensor::At(int64_t index) const {
  const int64_t width = SizeOf(dtype_);
  double value = 0;
  DecodeToDouble(dtype_, bytes().subspan(index * width, width), std::span(&value, 1));
  return value;
}

void HostTensor::Set(int64_t index, double value) {
  const int64_t width = SizeOf(dtype_);
  EncodeFromDouble(dtype_, std::span(&value, 1), bytes().subspan(index * width, width));
}

std::vector<double> HostTensor::ToDoubles() const {
  std::vector<double> values(size());
  DecodeToDouble(dtype_, bytes_, values);
  return values;
}

}  // namespace tp
