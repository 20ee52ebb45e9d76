#include "tp/io/tensor_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <new>
#include <nlohmann/json.hpp>
#include <vector>

#include "tp/io/available_memory.h"

namespace tp::io {
namespace {

Shape IndexOf(int64_t element, const Shape& shape) {
  Shape index(shape.size());
  for (size_t dim = shape.size(); dim-- > 0;) {
    index[dim] = element % shape[dim];
    element /= shape[dim];
  }
  return index;
}

}  // namespace

std::optional<int64_t> ByteSize(const Shape& shape, int64_t width) {
  int64_t bytes = width;
  bool empty = false;
  for (int64_t size : shape) {
    if (size < 0) return std::nullopt;
    empty = empty || size == 0;
    if (size != 0 && __builtin_mul_overflow(bytes, size, &bytes)) return std::nullopt;
  }
  return empty ? 0 : bytes;
}

Status CheckShape(std::string_view what, const Shape& shape, const std::optional<Shape>& expected) {
  if (!expected.has_value() || shape == *expected) return OkStatus();
  return InvalidArgument(fmt::format("{}: has shape {}, but shape {} is needed", what,
                                     ToString(shape), ToString(*expected)));
}

StatusOr<HostTensor> Allocate(std::string_view what, const Shape& shape, DType dtype) {
  // Asked first, since Linux grants more memory than there is and kills who then uses it.
  const std::optional<int64_t> bytes = ByteSize(shape, SizeOf(dtype));
  const std::optional<AvailableMemory> available = MemoryAvailable();
  if (bytes.has_value() && (!available || static_cast<double>(*bytes) <= available->bytes)) {
    try {
      return HostTensor(shape, dtype);
    } catch (const std::bad_alloc&) {
    }
  }
  return Unavailable(fmt::format("{}: shape {} of {} does not fit in the memory that is available",
                                 what, ToString(shape), Name(dtype)));
}

Status CheckFinite(const HostTensor& tensor, std::string_view what) {
  constexpr int64_t kChunk = 1024;
  double values[kChunk];
  const int64_t width = SizeOf(tensor.dtype());
  for (int64_t begin = 0; begin < tensor.size(); begin += kChunk) {
    const int64_t count = std::min(kChunk, tensor.size() - begin);
    DecodeToDouble(tensor.dtype(), tensor.bytes().subspan(begin * width, count * width),
                   std::span(values, count));
    for (int64_t i = 0; i < count; ++i) {
      if (std::isfinite(values[i])) continue;
      return InvalidArgument(
          fmt::format("{}: element {} is {}, and only finite numbers can be worked with", what,
                      ToString(IndexOf(begin + i, tensor.shape())),
                      std::isnan(values[i]) ? "NaN" : (values[i] > 0 ? "+infinity" : "-infinity")));
    }
  }
  return OkStatus();
}

std::string Quote(std::string_view text) {
  constexpr size_t kMaxBytes = 80;
  const bool cut = text.size() > kMaxBytes;
  const nlohmann::json shown = std::string(text.substr(0, kMaxBytes)) + (cut ? "..." : "");
  return shown.dump(-1, ' ', /*ensure_ascii=*/true, nlohmann::json::error_handler_t::replace);
}

}  // namespace tp::io
