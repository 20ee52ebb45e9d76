#include <numbers>

#include "backends/cpu/kernels/all.h"
#include "backends/cpu/kernels/blocks.h"

namespace tp::cpu {
namespace {

constexpr double kSqrtHalf = 1 / std::numbers::sqrt2;
constexpr double kDensity = std::numbers::inv_sqrtpi * kSqrtHalf;
constexpr double kCubic = 0.044715;

template <typename Wide>
Wide Constant(double value) {
  return static_cast<Wide>(value);
}

template <typename Array>
using WideOf = std::remove_cvref_t<decltype(std::declval<Array&>()[0])>;

// (1 + erf(x / sqrt 2)) / 2
template <typename In, typename Out>
void Distribution(const In& x, Out& to) {
  using Wide = WideOf<Out>;
  to = x * Constant<Wide>(kSqrtHalf);
  ApplyTo(Function::kErf, to.data(), to.data(), to.size());
  to = Constant<Wide>(0.5) * (1 + to);
}

template <typename In, typename Out>
void TanhOf(const In& x, Out& to) {
  using Wide = WideOf<Out>;
  to = Constant<Wide>(2 * kDensity) * (x + Constant<Wide>(kCubic) * (x * x * x));
  ApplyTo(Function::kTanh, to.data(), to.data(), to.size());
}

void Gelu(const KernelCall& c) {
  ForEachBlock<1, 1>(c.dtype, {c.in[0]}, {c.out[0]}, [](const auto& in, auto& out) {
    Distribution(in[0], out[0]);
    out[0] *= in[0];
  });
}

void GeluGrad(const KernelCall& c) {
  ForEachBlock<2, 1>(c.dtype, {c.in[0], c.in[1]}, {c.out[0]}, [](const auto& in, auto& out) {
    using Wide = WideOf<decltype(out[0])>;
    alignas(64) Wide memory[kBlock];
    Numbers<Wide> density(memory, out[0].size());
    density = Constant<Wide>(-0.5) * (in[0] * in[0]);
    ApplyTo(Function::kExp, density.data(), density.data(), density.size());
    Distribution(in[0], out[0]);
    out[0] = in[1] * (out[0] + in[0] * (Constant<Wide>(kDensity) * density));
  });
}

void GeluTanh(const KernelCall& c) {
  ForEachBlock<1, 1>(c.dtype, {c.in[0]}, {c.out[0]}, [](const auto& in, auto& out) {
    using Wide = WideOf<decltype(out[0])>;
    TanhOf(in[0], out[0]);
    out[0] = Constant<Wide>(0.5) * in[0] * (1 + out[0]);
  });
}

void GeluTanhGrad(const KernelCall& c) {
  ForEachBlock<2, 1>(c.dtype, {c.in[0], c.in[1]}, {c.out[0]}, [](const auto& in, auto& out) {
    using Wide = WideOf<decltype(out[0])>;
    const auto half = Constant<Wide>(0.5);
    TanhOf(in[0], out[0]);
    const auto inner =
        Constant<Wide>(2 * kDensity) * (1 + Constant<Wide>(3 * kCubic) * (in[0] * in[0]));
    out[0] = in[1] * (half * (1 + out[0]) + half * in[0] * ((1 - out[0] * out[0]) * inner));
  });
}

}  // namespace

const Kernel kGeluKernel = {Action{"gelu"}, Gelu};
const Kernel kGeluGradKernel = {Action{"gelu_grad"}, GeluGrad};
const Kernel kGeluTanhKernel = {Action{"gelu_tanh"}, GeluTanh};
const Kernel kGeluTanhGradKernel = {Action{"gelu_tanh_grad"}, GeluTanhGrad};

}  // namespace tp::cpu
