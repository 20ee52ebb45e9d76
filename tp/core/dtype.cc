#include "tp/core/dtype.h"

#include <glog/logging.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace tp {
namespace {

// What sets a binary floating-point format apart: bits of precision (the implicit one counted) and
// the exponents e of its largest and smallest normal numbers 2^e <= |x| < 2^(e+1).
struct Format {
  int precision;
  int max_exponent;
  int min_exponent;
};

Format FormatOf(DType dtype) {
  switch (dtype) {
    case DType::kFloat64:
      return {53, 1023, -1022};
    case DType::kFloat32:
      return {24, 127, -126};
    case DType::kBFloat16:
      return {8, 127, -126};
    case DType::kFloat16:
      return {11, 15, -14};
    case DType::kInt32:
      break;
  }
  LOG(FATAL) << "no floating-point type: " << static_cast<int>(dtype);
}

template <typename T>
T Load(const std::byte* src, size_t i) {
  T value;
  std::memcpy(&value, src + i * sizeof(T), sizeof(T));
  return value;
}

template <typename T>
void Store(std::byte* dst, size_t i, T value) {
  std::memcpy(dst + i * sizeof(T), &value, sizeof(T));
}

}  // namespace

std::string_view Name(DType dtype) {
  switch (dtype) {
    case DType::kFloat64:
      return "fp64";
    case DType::kFloat32:
      return "fp32";
    case DType::kBFloat16:
      return "bf16";
    case DType::kFloat16:
      return "fp16";
    case DType::kInt32:
      return "int32";
  }
  LOG(FATAL) << "no such dtype: " << static_cast<int>(dtype);
}

std::optional<DType> ParseDType(std::string_view name) {
  for (DType dtype : kAllDTypes) {
    if (Name(dtype) == name) return dtype;
  }
  return std::nullopt;
}

double UnitRoundoff(DType dtype) { return std::ldexp(1.0, -FormatOf(dtype).precision); }

double MaxFinite(DType dtype) {
  const Format format = FormatOf(dtype);
  return std::ldexp(2.0 - std::ldexp(1.0, 1 - format.precision), format.max_exponent);
}

double MinNormal(DType dtype) { return std::ldexp(1.0, FormatOf(dtype).min_exponent); }

double RoundTo(DType dtype, double value) {
  if (dtype == DType::kFloat64 || !std::isfinite(value) || value == 0) return value;
  if (dtype == DType::kFloat32) return static_cast<float>(value);
  if (dtype == DType::kInt32) {
    using Limits = std::numeric_limits<int32_t>;
    return std::clamp<double>(std::nearbyint(value), Limits::min(), Limits::max());
  }
  const Format format = FormatOf(dtype);
  const double magnitude = std::abs(value);
  if (magnitude >= MinNormal(dtype) && magnitude < MaxFinite(dtype) / 2) {
    // The usual case, in integers: add half a unit of the last place that stays (a little less
    // where that place is even), and drop what lies below it.
    const int dropped = 53 - format.precision;
    uint64_t bits = std::bit_cast<uint64_t>(value);
    bits += (uint64_t{1} << (dropped - 1)) - 1 + ((bits >> dropped) & 1);
    return std::bit_cast<double>(bits >> dropped << dropped);
  }
  const int exponent = std::max(std::ilogb(value), format.min_exponent);
  const int ulp_exponent = exponent - format.precision + 1;
  const double rounded = std::ldexp(std::nearbyint(std::ldexp(value, -ulp_exponent)), ulp_exponent);
  if (std::abs(rounded) <= MaxFinite(dtype)) return rounded;
  return std::copysign(std::numeric_limits<double>::infinity(), value);
}

float ToFloat(Half value) {
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000u) << 16;
  const uint32_t exponent = (value.bits >> 10) & 0x1fu;
  const uint32_t mantissa = value.bits & 0x3ffu;
  if (exponent == 0x1fu) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent == 0) {
    const float magnitude = std::ldexp(static_cast<float>(mantissa), -24);
    return sign != 0 ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | ((exponent + 112u) << 23) | (mantissa << 13));
}

Half ToHalf(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  if (std::isnan(value)) return Half{static_cast<uint16_t>(sign | 0x7e00u)};
  const double rounded = RoundTo(DType::kFloat16, value);
  const double magnitude = std::abs(rounded);
  if (std::isinf(rounded)) return Half{static_cast<uint16_t>(sign | 0x7c00u)};
  if (magnitude < MinNormal(DType::kFloat16)) {
    return Half{static_cast<uint16_t>(sign | static_cast<uint16_t>(std::ldexp(magnitude, 24)))};
  }
  const uint32_t narrow = std::bit_cast<uint32_t>(static_cast<float>(magnitude));
  return Half{
      static_cast<uint16_t>(sign | (((narrow >> 23) - 112u) << 10) | ((narrow >> 13) & 0x3ffu))};
}

void EncodeFromDouble(DType dtype, std::span<const double> src, std::span<std::byte> dst) {
  CHECK_EQ(static_cast<int64_t>(dst.size()), static_cast<int64_t>(src.size()) * SizeOf(dtype));
  std::byte* out = dst.data();
  switch (dtype) {
    case DType::kFloat64:
      for (size_t i = 0; i < src.size(); ++i) Store(out, i, src[i]);
      break;
    case DType::kFloat32:
      for (size_t i = 0; i < src.size(); ++i) Store(out, i, static_cast<float>(src[i]));
      break;
    case DType::kBFloat16:  // rounded first, so that the way through float does not round twice
      for (size_t i = 0; i < src.size(); ++i) {
        Store(out, i, ToBFloat16(static_cast<float>(RoundTo(dtype, src[i]))));
      }
      break;
    case DType::kFloat16:
      for (size_t i = 0; i < src.size(); ++i) {
        Store(out, i, ToHalf(static_cast<float>(RoundTo(dtype, src[i]))));
      }
      break;
    case DType::kInt32:
      for (size_t i = 0; i < src.size(); ++i) {
        Store(out, i, static_cast<int32_t>(RoundTo(dtype, src[i])));
      }
      break;
  }
}

void DecodeToDouble(DType dtype, std::span<const std::byte> src, std::span<double> dst) {
  CHECK_EQ(static_cast<int64_t>(src.size()), static_cast<int64_t>(dst.size()) * SizeOf(dtype));
  const std::byte* in = src.data();
  for (size_t i = 0; i < dst.size(); ++i) {
    switch (dtype) {
      case DType::kFloat64:
        dst[i] = Load<double>(in, i);
        break;
      case DType::kFloat32:
        dst[i] = Load<float>(in, i);
        break;
      case DType::kBFloat16:
        dst[i] = ToFloat(Load<BFloat16>(in, i));
        break;
      case DType::kFloat16:
        dst[i] = ToFloat(Load<Half>(in, i));
        break;
      case DType::kInt32:
        dst[i] = Load<int32_t>(in, i);
        break;
    }
  }
}

}  // namespace tp
