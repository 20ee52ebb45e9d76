// LaunchKernel: a kernel that the GPU sets up while the one before it on the stream still runs.
//
// The kernel calls AwaitEarlierKernels before it touches memory: all before it on the stream have
// then ended, and what they wrote is seen. Source: "Programmatic Dependent Launch and
// Synchronization" in the CUDA C++ Programming Guide; it needs compute capability 9.0, and where
// there is less, kernels start one after the other.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <type_traits>

namespace tp::nccl {

__device__ inline void AwaitEarlierKernels() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

inline bool CanLaunchEarly() {
  int device = 0, major = 0;
  return cudaGetDevice(&device) == cudaSuccess &&
         cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
         major >= 9;
}

// Bytes of dynamic shared memory that a kernel has without asking for more: of 48 KiB, 8 are left
// for what it declares.
inline constexpr int64_t kMostPlainShared = 40 << 10;

// Bytes of shared memory that the blocks on a multiprocessor of the current GPU have together.
inline int SharedOfMultiprocessor() {
  int device = 0, bytes = 0;
  const bool known = cudaGetDevice(&device) == cudaSuccess &&
                     cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerMultiprocessor,
                                            device) == cudaSuccess;
  return known ? bytes : 0;
}

// `shared_bytes` is dynamic shared memory.
template <typename... Parameters>
cudaError_t LaunchKernelWith(size_t shared_bytes, void (*kernel)(Parameters...), dim3 blocks,
                             dim3 threads, cudaStream_t stream,
                             std::type_identity_t<Parameters>... arguments) {
  if (shared_bytes > kMostPlainShared) {
    const cudaError_t error = cudaFuncSetAttribute(
        kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes));
    if (error != cudaSuccess) return error;
  }
  cudaLaunchAttribute early;
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = blocks;
  config.blockDim = threads;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &early;
  config.numAttrs = CanLaunchEarly() ? 1 : 0;
  return cudaLaunchKernelEx(&config, kernel, arguments...);
}

template <typename... Parameters>
cudaError_t LaunchKernel(void (*kernel)(Parameters...), dim3 blocks, dim3 threads,
                         cudaStream_t stream, std::type_identity_t<Parameters>... arguments) {
  return LaunchKernelWith(0, kernel, blocks, threads, stream, arguments...);
}

}  // namespace tp::nccl
