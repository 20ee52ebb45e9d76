#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/functions.cuh"
#include "backends/nccl/kernels/walk.cuh"

namespace tp::nccl {
namespace {

constexpr double kSqrtHalf = 0.70710678118654752440;  // 1 / sqrt 2
constexpr double kDensity = 0.39894228040143267794;   // 1 / sqrt(2 pi)
constexpr double kCubic = 0.044715;

// (1 + erf(x / sqrt 2)) / 2
template <typename A>
__device__ A Distribution(A x) {
  return A(0.5) * (A(1) + Erf(x * A(kSqrtHalf)));
}
template <typename A>
__device__ A TanhOf(A x) {
  return Tanh(A(2 * kDensity) * (x + A(kCubic) * (x * x * x)));
}

struct Gelu {
  template <typename A>
  __device__ void operator()(const A (&x)[1], A (&y)[1]) const {
    y[0] = x[0] * Distribution(x[0]);
  }
};

struct GeluGrad {
  template <typename A>
  __device__ void operator()(const A (&x)[2], A (&y)[1]) const {
    const A density = A(kDensity) * Exp(A(-0.5) * (x[0] * x[0]));
    y[0] = x[1] * (Distribution(x[0]) + x[0] * density);
  }
};

struct GeluTanh {
  template <typename A>
  __device__ void operator()(const A (&x)[1], A (&y)[1]) const {
    y[0] = A(0.5) * x[0] * (A(1) + TanhOf(x[0]));
  }
};

struct GeluTanhGrad {
  template <typename A>
  __device__ void operator()(const A (&x)[2], A (&y)[1]) const {
    const A t = TanhOf(x[0]);
    const A inner = A(2 * kDensity) * (A(1) + A(3 * kCubic) * (x[0] * x[0]));
    y[0] = x[1] * (A(0.5) * (A(1) + t) + A(0.5) * x[0] * ((A(1) - t * t) * inner));
  }
};

template <typename F>
cudaError_t OfOne(const KernelCall& c, cudaStream_t stream) {
  return Dispatch(c.out[0].dtype, [&](auto type) {
    return LaunchWalk<1, 1, decltype(type)>({c.in[0], c.out[0]}, stream, F{});
  });
}
template <typename F>
cudaError_t OfTwo(const KernelCall& c, cudaStream_t stream) {
  return Dispatch(c.out[0].dtype, [&](auto type) {
    return LaunchWalk<2, 1, decltype(type)>({c.in[0], c.in[1], c.out[0]}, stream, F{});
  });
}

}  // namespace

const Kernel kGeluKernel = {Action{"gelu"}, OfOne<Gelu>};
const Kernel kGeluGradKernel = {Action{"gelu_grad"}, OfTwo<GeluGrad>};
const Kernel kGeluTanhKernel = {Action{"gelu_tanh"}, OfOne<GeluTanh>};
const Kernel kGeluTanhGradKernel = {Action{"gelu_tanh_grad"}, OfTwo<GeluTanhGrad>};

}  // namespace tp::nccl
