#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/map.cuh"

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

const Kernel kSgdKernel = {Action{"sgd"}, [](const KernelCall& c, cudaStream_t stream) {
                             return Sgd(c.in[0], c.in[1], c.op.attributes.Number("rate"), stream);
                           }};

}  // namespace tp::nccl
