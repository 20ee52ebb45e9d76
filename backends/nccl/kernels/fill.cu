#include "backends/nccl/kernels/kernels.h"
#include "backends/nccl/kernels/map.cuh"

namespace tp::nccl {
namespace {

struct Nothing {
  template <typename A>
  __device__ A operator()(A, A) const {
    return A(0);
  }
};

__device__ inline uint32_t Mix(uint64_t x) {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdull;
  x ^= x >> 33;
  x *= 0xc4ceb9fe1a85ec53ull;
  return static_cast<uint32_t>(x >> 32);
}

template <typename T>
__global__ void __launch_bounds__(kThreads) NoiseKernel(T* data, int64_t count) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += step) {
    const float value = static_cast<float>(static_cast<int32_t>(Mix(i + 1))) * 0x1p-31f;
    data[i] = Round<T>(value);
  }
}

}  // namespace

cudaError_t Zero(const DeviceMatrix& out, cudaStream_t stream) {
  const Grid grid = WithoutSecond(out, out);
  return Dispatch(out.dtype,
                  [&](auto type) { return LaunchMap<decltype(type)>(grid, stream, Nothing{}); });
}

cudaError_t FillNoise(void* data, DType dtype, int64_t count, cudaStream_t stream) {
  if (count == 0) return cudaSuccess;
  return Dispatch(dtype, [&](auto type) {
    using T = decltype(type);
    NoiseKernel<<<BlocksFor(count, kMostBlocks), kThreads, 0, stream>>>(static_cast<T*>(data),
                                                                        count);
    return cudaGetLastError();
  });
}

}  // namespace tp::nccl
