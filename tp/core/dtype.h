// Element types: their names, sizes, roundings, and conversion between them.
//
// BFloat16 and Half are storage types: two bytes, no arithmetic. Kernels widen them to float, work
// there and round once at the store (round to nearest, ties to even: IEEE 754-2019, 4.3.1).
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace tp {

enum class DType {
  kFloat64,
  kFloat32,
  kBFloat16,
  kFloat16,
  kInt32,  // of inputs that count, such as the ids of tokens; nothing is computed in it
};

// Those that numbers are computed in.
inline constexpr DType kAllDTypes[] = {DType::kFloat64, DType::kFloat32, DType::kBFloat16,
                                       DType::kFloat16};

// Bytes of one element.
constexpr int64_t SizeOf(DType dtype) {
  switch (dtype) {
    case DType::kFloat64:
      return 8;
    case DType::kFloat32:
    case DType::kInt32:
      return 4;
    case DType::kBFloat16:
    case DType::kFloat16:
      return 2;
  }
  return 0;
}

// "fp64", "fp32", "bf16", "fp16": the spelling of --dtype; and "int32", which ParseDType leaves
// out.
std::string_view Name(DType dtype);
std::optional<DType> ParseDType(std::string_view name);

// The next three are of floating-point types: CHECKed.
//
// Half the distance from 1 to the next larger number: 2^-53, 2^-24, 2^-8, 2^-11.
double UnitRoundoff(DType dtype);

// The largest finite number, and the smallest positive normal one.
double MaxFinite(DType dtype);
double MinNormal(DType dtype);

// The type in which sums of products of `dtype` are accumulated: fp64 for fp64, else fp32.
constexpr DType AccumulatorOf(DType dtype) {
  return dtype == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32;
}

// `value` rounded once to the nearest number of `dtype`; beyond the range it becomes infinite, of
// int32 the end of the range.
double RoundTo(DType dtype, double value);

struct BFloat16 {
  uint16_t bits = 0;
};
struct Half {
  uint16_t bits = 0;
};

inline float ToFloat(BFloat16 value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value.bits) << 16);
}
inline BFloat16 ToBFloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) {  // NaN: keep it one, quiet
    return BFloat16{static_cast<uint16_t>((bits >> 16) | 0x40u)};
  }
  return BFloat16{static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}
float ToFloat(Half value);
Half ToHalf(float value);

// dst[i] = src[i] rounded to `dtype`, where dst holds SizeOf(dtype) bytes an element; and back,
// exactly. Sizes must agree.
void EncodeFromDouble(DType dtype, std::span<const double> src, std::span<std::byte> dst);
void DecodeToDouble(DType dtype, std::span<const std::byte> src, std::span<double> dst);

}  // namespace tp
