#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/map.cuh"

namespace tp::nccl {
namespace {

struct Positive {
  template <typename A>
  __device__ A operator()(A x, A) const {
    return x > A(0) ? x : A(0);
  }
};

struct WherePositive {
  template <typename A>
  __device__ A operator()(A x, A value) const {
    return x > A(0) ? value : A(0);
  }
};

}  // namespace

const Kernel kReluKernel = {Action{"relu"}, [](const KernelCall& c, cudaStream_t stream) {
                              const Grid grid = WithoutSecond(c.in[0], c.out[0]);
                              return Dispatch(c.out[0].dtype, [&](auto type) {
                                return LaunchMap<decltype(type)>(grid, stream, Positive{});
                              });
                            }};
const Kernel kReluGradKernel = {Action{"relu_grad"}, [](const KernelCall& c, cudaStream_t stream) {
                                  const Grid grid = MakeGrid({c.in[0], c.in[1], c.out[0]});
                                  return Dispatch(c.out[0].dtype, [&](auto type) {
                                    return LaunchMap<decltype(type)>(grid, stream, WherePositive{});
                                  });
                                }};

}  // namespace tp::nccl
