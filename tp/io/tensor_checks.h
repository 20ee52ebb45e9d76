// Checks that every reader of tensors makes, on sizes that a file claims and on values it holds.
//
// `what` is the file, with the tensor's name where it has one; errors begin with it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "tp/core/host_tensor.h"
#include "tp/core/shape.h"
#include "tp/core/status.h"

namespace tp::io {

// Tensors with more dimensions are not read.
inline constexpr size_t kMaxDims = 4;

// Bytes of a tensor of `width` bytes an element; none where a size is negative, or where the sizes
// other than 0 multiply beyond what an int64_t counts.
std::optional<int64_t> ByteSize(const Shape& shape, int64_t width);

// OK without an expectation, or where both shapes are the same.
Status CheckShape(std::string_view what, const Shape& shape, const std::optional<Shape>& expected);

// A tensor of zeros, or an error where it is larger than memory.
StatusOr<HostTensor> Allocate(std::string_view what, const Shape& shape, DType dtype);

// An error that names the first NaN or infinity, in row-major order.
Status CheckFinite(const HostTensor& tensor, std::string_view what);

// `text` from a file, in quotes, on one line, without control characters and not too long.
std::string Quote(std::string_view text);

}  // namespace tp::io
