#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/map.cuh"

namespace tp::nccl {

cudaError_t Add(const DeviceMatrix& a, const DeviceMatrix& b, const DeviceMatrix& out,
                cudaStream_t stream) {
  const Grid grid = MakeGrid({a, b, out});
  return Dispatch(out.dtype,
                  [&](auto type) { return LaunchMap<decltype(type)>(grid, stream, Sum{}); });
}

const Kernel kAddKernel = {Action{"add"}, [](const KernelCall& c, cudaStream_t stream) {
                             return Add(c.in[0], c.in[1], c.out[0], stream);
                           }};

}  // namespace tp::nccl
