#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/walk.cuh"

namespace tp::nccl {
namespace {

struct Scale {
  const void* number;

  template <typename A>
  __device__ void operator()(const A (&x)[1], A (&y)[1]) const {
    y[0] = x[0] * *static_cast<const A*>(number);
  }
};

}  // namespace

const Kernel kScaleKernel = {
    Action{"scale"}, [](const KernelCall& c, cudaStream_t stream) {
      return Dispatch(c.out[0].dtype, [&](auto type) {
        return LaunchWalk<1, 1, decltype(type)>({c.in[0], c.out[0]}, stream, Scale{c.in[1].data});
      });
    }};

}  // namespace tp::nccl
