#include "backends/cpu/kernels/all.h"
#include "backends/cpu/kernels/blocks.h"

namespace tp::cpu {
namespace {

// silu(x) from x and its sigmoid; and silu'(x).
constexpr auto kValue = [](const auto& x, const auto& s) { return x * s; };
constexpr auto kSlope = [](const auto& x, const auto& s) { return s * (1 + x * (1 - s)); };

template <typename In, typename Out>
void Sigmoid(const In& x, Out& s) {
  ApplyTo(Function::kSigmoid, x.data(), s.data(), x.size());
}

void Silu(const KernelCall& c) {
  ForEachBlock<1, 1>(c.dtype, {c.in[0]}, {c.out[0]}, [](const auto& in, auto& out) {
    Sigmoid(in[0], out[0]);
    out[0] = kValue(in[0], out[0]);
  });
}

void SiluGrad(const KernelCall& c) {
  ForEachBlock<2, 1>(c.dtype, {c.in[0], c.in[1]}, {c.out[0]}, [](const auto& in, auto& out) {
    Sigmoid(in[0], out[0]);
    out[0] = in[1] * kSlope(in[0], out[0]);
  });
}

void Swiglu(const KernelCall& c) {
  ForEachBlock<2, 1>(c.dtype, {c.in[0], c.in[1]}, {c.out[0]}, [](const auto& in, auto& out) {
    Sigmoid(in[0], out[0]);
    out[0] = kValue(in[0], out[0]) * in[1];
  });
}

void SwigluGrad(const KernelCall& c) {
  ForEachBlock<3, 2>(c.dtype, {c.in[0], c.in[1], c.in[2]}, {c.out[0], c.out[1]},
                     [](const auto& in, auto& out) {
                       Sigmoid(in[0], out[0]);
                       out[1] = in[2] * kValue(in[0], out[0]);
                       out[0] = in[2] * in[1] * kSlope(in[0], out[0]);
                     });
}

}  // namespace

const Kernel kSiluKernel = {Action{"silu"}, Silu};
const Kernel kSiluGradKernel = {Action{"silu_grad"}, SiluGrad};
const Kernel kSwigluKernel = {Action{"swiglu"}, Swiglu};
const Kernel kSwigluGradKernel = {Action{"swiglu_grad"}, SwigluGrad};

}  // namespace tp::cpu
