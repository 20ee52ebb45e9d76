// Elements in CPU kernels: how each storage type is widened for arithmetic and narrowed at the
// store.
//
// fp64 computes in double, everything else in float: one rounding, to nearest even, at the store.
#pragma once

#include <bit>

#include "tp/core/dtype.h"

namespace tp::cpu {

template <typename T>
struct Element {  // float and double compute in themselves
  using Wide = T;
  static T Widen(T value) { return value; }
  static T Narrow(T value) { return value; }
};

template <>
struct Element<BFloat16> {
  using Wide = float;
  static float Widen(BFloat16 value) { return ToFloat(value); }
  static BFloat16 Narrow(float value) { return ToBFloat16(value); }
};

// _Float16 converts in one instruction where the processor has one (F16C).
template <>
struct Element<Half> {
  using Wide = float;
  static float Widen(Half value) { return static_cast<float>(std::bit_cast<_Float16>(value.bits)); }
  static Half Narrow(float value) {
    return Half{std::bit_cast<uint16_t>(static_cast<_Float16>(value))};
  }
};

// Calls visit(T{}) with the storage type of `dtype`, in which numbers are computed: CHECKed.
template <typename Visitor>
void VisitElement(DType dtype, Visitor&& visit) {
  switch (dtype) {
    case DType::kFloat64:
      return visit(double{});
    case DType::kFloat32:
      return visit(float{});
    case DType::kBFloat16:
      return visit(BFloat16{});
    case DType::kFloat16:
      return visit(Half{});
    case DType::kInt32:
      static_cast<void>(UnitRoundoff(dtype));  // ends with the words that it has none
  }
}

}  // namespace tp::cpu
