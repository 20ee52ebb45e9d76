#include "sim/fabric/reduce.h"

#include <glog/logging.h>

#include <cstdint>

namespace tp::sim {
namespace {

template <typename T>
struct Storage {
  static T Widen(T value) { return value; }
  static T Narrow(T value) { return value; }
};
template <>
struct Storage<BFloat16> {
  static float Widen(BFloat16 value) { return ToFloat(value); }
  static BFloat16 Narrow(float value) { return ToBFloat16(value); }
};
template <>
struct Storage<Half> {
  static float Widen(Half value) { return ToFloat(value); }
  static Half Narrow(float value) { return ToHalf(value); }
};

// `a != a`: a NaN in `b` comes through by itself, because no comparison with it holds.
constexpr auto kSum = [](auto a, auto b) { return a + b; };
constexpr auto kMax = [](auto a, auto b) { return a > b || a != a ? a : b; };
constexpr auto kMin = [](auto a, auto b) { return a < b || a != a ? a : b; };

template <typename T, typename Op>
void Loop(Op op, std::span<const std::byte> a, std::span<const std::byte> b,
          std::span<std::byte> out) {
  const auto* x = reinterpret_cast<const T*>(a.data());
  const auto* y = reinterpret_cast<const T*>(b.data());
  auto* z = reinterpret_cast<T*>(out.data());
  const auto count = static_cast<int64_t>(out.size() / sizeof(T));
  // `out` may be an input: element i is read before it is written, so nothing is carried on.
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) {
    z[i] = Storage<T>::Narrow(op(Storage<T>::Widen(x[i]), Storage<T>::Widen(y[i])));
  }
}

template <typename T>
void Dispatch(Reduction reduction, std::span<const std::byte> a, std::span<const std::byte> b,
              std::span<std::byte> out) {
  switch (reduction) {
    case Reduction::kSum:
      return Loop<T>(kSum, a, b, out);
    case Reduction::kMax:
      return Loop<T>(kMax, a, b, out);
    case Reduction::kMin:
      return Loop<T>(kMin, a, b, out);
  }
}

}  // namespace

void Reduce(DType dtype, Reduction reduction, std::span<const std::byte> a,
            std::span<const std::byte> b, std::span<std::byte> out) {
  CHECK_EQ(a.size(), out.size());
  CHECK_EQ(b.size(), out.size());
  switch (dtype) {
    case DType::kFloat64:
      return Dispatch<double>(reduction, a, b, out);
    case DType::kFloat32:
      return Dispatch<float>(reduction, a, b, out);
    case DType::kBFloat16:
      return Dispatch<BFloat16>(reduction, a, b, out);
    case DType::kFloat16:
      return Dispatch<Half>(reduction, a, b, out);
    case DType::kInt32:
      return Dispatch<int32_t>(reduction, a, b, out);
  }
}

}  // namespace tp::sim
