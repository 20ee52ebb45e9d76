// Elementwise kernels in blocks: numbers widened into packed memory, worked on there with
// vectorised functions, and narrowed into their tensors.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <type_traits>

#include "Eigen/Core"
#include "backends/cpu/element.h"
#include "backends/cpu/functions.h"
#include "backends/cpu/kernels/rows.h"

namespace tp::cpu {

inline constexpr int64_t kBlock = 256;

// `n` numbers, as Eigen computes with.
template <typename Wide>
using Numbers = Eigen::Map<Eigen::Array<Wide, Eigen::Dynamic, 1>>;

// out = function(in), in place or apart. In double they are the C library's.
inline void ApplyTo(Function function, const float* in, float* out, int64_t n) {
  const auto size = static_cast<size_t>(n);
  Apply(function, std::span(in, size), std::span(out, size));
}
inline void ApplyTo(Function function, const double* in, double* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = tp::Apply(function, in[i]);
}

// `n` elements from `place` on, widened and packed; and back.
template <typename T>
void LoadLine(const Tensor& tensor, int64_t place, int64_t stride, int64_t n,
              typename Element<T>::Wide* to) {
  const T* from = static_cast<const T*>(tensor.data) + place;
  if (stride == 1) {  // of its own, so that it is vectorised
    for (int64_t j = 0; j < n; ++j) to[j] = Element<T>::Widen(from[j]);
    return;
  }
  for (int64_t j = 0; j < n; ++j) to[j] = Element<T>::Widen(from[j * stride]);
}
template <typename T>
void StoreLine(const typename Element<T>::Wide* from, const Tensor& tensor, int64_t place,
               int64_t stride, int64_t n) {
  T* to = static_cast<T*>(tensor.data) + place;
  if (stride == 1) {
    for (int64_t j = 0; j < n; ++j) to[j] = Element<T>::Narrow(from[j]);
    return;
  }
  for (int64_t j = 0; j < n; ++j) to[j * stride] = Element<T>::Narrow(from[j]);
}

// For tensors of one shape and type: calls f(in, out) with arrays of Numbers, a block of each at a
// time; f writes out. `out` may be in the memory of `in`.
template <size_t kIn, size_t kOut, typename F>
void ForEachBlock(DType dtype, const std::array<Tensor, kIn>& in,
                  const std::array<Tensor, kOut>& out, const F& f) {
  if (in[0].empty()) return;
  VisitElement(dtype, [&]<typename T>(T) {
    using Wide = typename Element<T>::Wide;
    std::array<const Tensor*, kIn + kOut> tensors;
    for (size_t i = 0; i < kIn; ++i) tensors[i] = &in[i];
    for (size_t i = 0; i < kOut; ++i) tensors[kIn + i] = &out[i];
    const Lines<kIn + kOut> lines(tensors);
    alignas(64) Wide memory[kIn + kOut][kBlock];
    lines.ForEach([&](const auto& at) {
      for (int64_t begin = 0; begin < lines.length; begin += kBlock) {
        const int64_t n = std::min(kBlock, lines.length - begin);
        for (size_t t = 0; t < kIn; ++t) {
          const int64_t stride = lines.strides[t];
          LoadLine<T>(*tensors[t], at[t] + begin * stride, stride, n, memory[t]);
        }
        const auto numbers = [&]<size_t... i>(size_t first, std::index_sequence<i...>) {
          return std::array<Numbers<Wide>, sizeof...(i)>{Numbers<Wide>(memory[first + i], n)...};
        };
        auto results = numbers(kIn, std::make_index_sequence<kOut>());
        f(numbers(0, std::make_index_sequence<kIn>()), results);
        for (size_t t = kIn; t < kIn + kOut; ++t) {
          const int64_t stride = lines.strides[t];
          StoreLine<T>(memory[t], *tensors[t], at[t] + begin * stride, stride, n);
        }
      }
    });
  });
}

// The number that a tensor without dimensions is.
template <typename Wide>
Wide ScalarOf(DType dtype, const Tensor& scalar) {
  Wide value = 0;
  VisitElement(dtype, [&]<typename T>(T) {
    value = static_cast<Wide>(Element<T>::Widen(*static_cast<const T*>(scalar.data)));
  });
  return value;
}

// A tensor's numbers one line at a time: `index` counts dimensions [0, dims - 1), the last one is
// the line. Where element 0 of a line is.
inline int64_t LineAt(const Tensor& tensor, const Index& index, int dims) {
  int64_t place = 0;
  for (int d = 0; d < dims; ++d) place += index[d] * tensor.dims[d].stride;
  return place;
}

// Calls f(index) for every index of the first `dims` dimensions of `tensor`.
template <typename F>
void ForEachIndex(const Tensor& tensor, int dims, const F& f) {
  View view;
  for (int d = 0; d < dims; ++d) view.dims.push_back({tensor.dims[d].size, 1});
  ForEachElement(view, [&](const Index& index, int64_t) { f(index); });
}

}  // namespace tp::cpu
