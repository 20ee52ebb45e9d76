// Copies from global to shared memory that a thread starts, and waits for later. Source: cp.async
// in the PTX ISA; it needs compute capability 8.0.
#pragma once

#include <cstdint>

namespace tp::nccl {

__device__ inline uint32_t SharedAddress(const void* at) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(at));
}

// 16 bytes on their way from global to shared memory; zeros where not `there`.
__device__ inline void CopyChunkTo(uint32_t to, const void* from, bool there) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
               "r"(there ? 16 : 0)
               : "memory");
}
__device__ inline void CopyChunk(void* to, const void* from, bool there) {
  CopyChunkTo(SharedAddress(to), from, there);
}
__device__ inline void EndGroup() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Until all groups but the last `kPending` have come.
template <int kPending>
__device__ inline void AwaitGroups() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

}  // namespace tp::nccl
