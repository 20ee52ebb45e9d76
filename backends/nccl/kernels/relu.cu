#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/walk.cuh"

namespace tp::nccl {
namespace {

struct Positive {
  template <typename A>
  __device__ void operator()(const A (&x)[1], A (&y)[1]) const {
    y[0] = x[0] > A(0) ? x[0] : A(0);
  }
};

struct WherePositive {
  template <typename A>
  __device__ void operator()(const A (&x)[2], A (&y)[1]) const {
    y[0] = x[0] > A(0) ? x[1] : A(0);
  }
};

}  // namespace

const Kernel kReluKernel = {
    Action{"relu"}, [](const KernelCall& c, cudaStream_t stream) {
      return Dispatch(c.out[0].dtype, [&](auto type) {
        return LaunchWalk<1, 1, decltype(type)>({c.in[0], c.out[0]}, stream, Positive{});
      });
    }};
const Kernel kReluGradKernel = {Action{"relu_grad"}, [](const KernelCall& c, cudaStream_t stream) {
                                  return Dispatch(c.out[0].dtype, [&](auto type) {
                                    return LaunchWalk<2, 1, decltype(type)>(
                                        {c.in[0], c.in[1], c.out[0]}, stream, WherePositive{});
                                  });
                                }};

}  // namespace tp::nccl
