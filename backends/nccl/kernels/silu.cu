#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/functions.cuh"
#include "backends/nccl/kernels/walk.cuh"

namespace tp::nccl {
namespace {

// silu'(x) from x and its sigmoid.
template <typename A>
__device__ A Slope(A x, A s) {
  return s * (A(1) + x * (A(1) - s));
}

struct Silu {
  template <typename A>
  __device__ void operator()(const A (&x)[1], A (&y)[1]) const {
    y[0] = x[0] * Sigmoid(x[0]);
  }
};

struct SiluGrad {
  template <typename A>
  __device__ void operator()(const A (&x)[2], A (&y)[1]) const {
    y[0] = x[1] * Slope(x[0], Sigmoid(x[0]));
  }
};

struct Swiglu {
  template <typename A>
  __device__ void operator()(const A (&x)[2], A (&y)[1]) const {
    y[0] = x[0] * Sigmoid(x[0]) * x[1];
  }
};

struct SwigluGrad {
  template <typename A>
  __device__ void operator()(const A (&x)[3], A (&y)[2]) const {
    const A s = Sigmoid(x[0]);
    y[0] = x[2] * x[1] * Slope(x[0], s);
    y[1] = x[2] * (x[0] * s);
  }
};

}  // namespace

const Kernel kSiluKernel = {
    Action{"silu"}, [](const KernelCall& c, cudaStream_t stream) {
      return Dispatch(c.out[0].dtype, [&](auto type) {
        return LaunchWalk<1, 1, decltype(type)>({c.in[0], c.out[0]}, stream, Silu{});
      });
    }};
const Kernel kSiluGradKernel = {
    Action{"silu_grad"}, [](const KernelCall& c, cudaStream_t stream) {
      return Dispatch(c.out[0].dtype, [&](auto type) {
        return LaunchWalk<2, 1, decltype(type)>({c.in[0], c.in[1], c.out[0]}, stream, SiluGrad{});
      });
    }};
const Kernel kSwigluKernel = {
    Action{"swiglu"}, [](const KernelCall& c, cudaStream_t stream) {
      return Dispatch(c.out[0].dtype, [&](auto type) {
        return LaunchWalk<2, 1, decltype(type)>({c.in[0], c.in[1], c.out[0]}, stream, Swiglu{});
      });
    }};
const Kernel kSwigluGradKernel = {
    Action{"swiglu_grad"}, [](const KernelCall& c, cudaStream_t stream) {
      return Dispatch(c.out[0].dtype, [&](auto type) {
        return LaunchWalk<3, 2, decltype(type)>({c.in[0], c.in[1], c.in[2], c.out[0], c.out[1]},
                                                stream, SwigluGrad{});
      });
    }};

}  // namespace tp::nccl
