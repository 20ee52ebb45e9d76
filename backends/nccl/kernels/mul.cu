#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/walk.cuh"

namespace tp::nccl {
namespace {

struct Multiply {
  template <typename A>
  __device__ void operator()(const A (&x)[2], A (&y)[1]) const {
    y[0] = x[0] * x[1];
  }
};

}  // namespace

const Kernel kMulKernel = {
    Action{"mul"}, [](const KernelCall& c, cudaStream_t stream) {
      return Dispatch(c.out[0].dtype, [&](auto type) {
        return LaunchWalk<2, 1, decltype(type)>({c.in[0], c.in[1], c.out[0]}, stream, Multiply{});
      });
    }};

}  // namespace tp::nccl
