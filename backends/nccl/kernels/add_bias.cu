#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/map.cuh"

namespace tp::nccl {
namespace {

// The bias as a matrix of y's shape, the same in each row.
DeviceMatrix OnEachRow(const DeviceMatrix& bias, int64_t rows) {
  DeviceMatrix m = bias;
  m.rows = rows;
  m.row_stride = 0;
  return m;
}

}  // namespace

cudaError_t AddBias(const DeviceMatrix& y, const DeviceMatrix& bias, const DeviceMatrix& out,
                    cudaStream_t stream) {
  const Grid grid = MakeGrid({y, OnEachRow(bias, out.rows), out});
  return Dispatch(out.dtype,
                  [&](auto type) { return LaunchMap<decltype(type)>(grid, stream, Sum{}); });
}

cudaError_t BroadcastBias(const DeviceMatrix& bias, const DeviceMatrix& out, cudaStream_t stream) {
  const Grid grid = WithoutSecond(OnEachRow(bias, out.rows), out);
  return Dispatch(out.dtype,
                  [&](auto type) { return LaunchMap<decltype(type)>(grid, stream, First{}); });
}

const Kernel kAddBiasKernel = {.action = Action{"add_bias"},
                               .enqueue =
                                   [](const KernelCall& c, cudaStream_t stream) {
                                     return AddBias(c.in[0].matrix(), c.in[1].matrix(),
                                                    c.out[0].matrix(), stream);
                                   },
                               .of_matrices = OfMatrices::kEverywhere};

}  // namespace tp::nccl
