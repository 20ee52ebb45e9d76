#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/map.cuh"
#include "backends/nccl/kernels/walk.cuh"

namespace tp::nccl {
namespace {

template <typename A>
struct Descend {
  A rate;
  __device__ float operator()(float w, float gradient) const {
    return __fsub_rn(w, __fmul_rn(rate, gradient));
  }
  __device__ double operator()(double w, double gradient) const {
    return __dsub_rn(w, __dmul_rn(rate, gradient));
  }
  __device__ void operator()(const A (&x)[2], A (&y)[1]) const { y[0] = (*this)(x[0], x[1]); }
};

}  // namespace

cudaError_t Sgd(const DeviceMatrix& w, const DeviceMatrix& gradient, double scale,
                cudaStream_t stream) {
  const Grid grid = MakeGrid({w, gradient, w});
  return Dispatch(w.dtype, [&](auto type) {
    using A = Accumulator<decltype(type)>;
    return LaunchMap<decltype(type)>(grid, stream, Descend<A>{static_cast<A>(scale)});
  });
}

const Kernel kSgdKernel = {
    Action{"sgd"}, [](const KernelCall& c, cudaStream_t stream) {
      return Dispatch(c.in[0].dtype, [&](auto type) {
        using T = decltype(type);
        using A = Accumulator<T>;
        const auto rate = static_cast<A>(c.op.attributes.Number("rate"));
        return LaunchWalk<2, 1, T>({c.in[0], c.in[1], c.in[0]}, stream, Descend<A>{rate});
      });
    }};

}  // namespace tp::nccl
