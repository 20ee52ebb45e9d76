// What the kernels of collectives over peer memory share: how members meet, and how sums are taken.
#pragma once

#include <type_traits>

#include "backends/nccl/collectives/peer_kernels.h"
#include "backends/nccl/kernels/element.cuh"

namespace tp::nccl {

inline constexpr int kSpinsPerLook = 1 << 12;  // `stop` lies in the host's memory

__device__ inline bool Stopped(const unsigned* stop) {
  return *static_cast<const volatile unsigned*>(stop) != 0;
}

__device__ inline void Release(unsigned* at, unsigned value) {
  asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(at), "r"(value) : "memory");
}
__device__ inline unsigned Acquire(const unsigned* at) {
  unsigned value;
  asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(value) : "l"(at) : "memory");
  return value;
}

// Says to all members that this block has come, and waits for the same block of theirs. Everything
// that the block wrote before is then seen by them. False where it was stopped.
__device__ inline bool Meet(const Meeting& meeting, MeetTo to, unsigned step) {
  const int phase = static_cast<int>(to);
  bool stopped = false;
  __syncthreads();
  if (threadIdx.x < meeting.members && threadIdx.x != meeting.me) {
    const int other = static_cast<int>(threadIdx.x);
    __threadfence_system();
    Release(&meeting.states[other]->came[phase][blockIdx.x][meeting.me], step);
    const unsigned* came = &meeting.states[meeting.me]->came[phase][blockIdx.x][other];
    int spins = 0;
    while (!stopped && static_cast<int>(Acquire(came) - step) < 0) {
      if (++spins % kSpinsPerLook == 0) stopped = Stopped(meeting.stop);
    }
  }
  return __syncthreads_or(stopped) == 0;
}

__device__ inline unsigned StepOf(const Meeting& meeting) {
  return *static_cast<volatile unsigned*>(&meeting.states[meeting.me]->step) + 1;
}

// The last block to come here ends the step.
__device__ inline void EndStep(const Meeting& meeting, unsigned step) {
  __syncthreads();
  if (threadIdx.x != 0) return;
  PeerState& state = *meeting.states[meeting.me];
  if (atomicAdd(&state.done, 1u) != gridDim.x - 1) return;
  state.done = 0;
  state.step = step;
}

template <typename A>
__device__ inline A Combine(A a, A b, Reduction reduction) {
  switch (reduction) {
    case Reduction::kMax:
      return a < b ? b : a;
    case Reduction::kMin:
      return b < a ? b : a;
    case Reduction::kSum:
    default:
      return a + b;
  }
}

// The values of `members` members at one place, of kMost that there may be: combined in the order
// of members and rounded once. `of_member(m)` gives those of one; no index depends on what the
// compiler can't see.
template <typename T, int kMost, int kCount, typename OfMember>
__device__ inline Pack<T, kCount> CombineMembers(int members, Reduction reduction,
                                                 const OfMember& of_member) {
  Accumulator<T> sum[kCount];
#pragma unroll
  for (int m = 0; m < kMost; ++m) {
    if (m >= members) continue;
    const auto values = Widen(of_member(m));
#pragma unroll
    for (int k = 0; k < kCount; ++k) {
      sum[k] = m == 0 ? values.at[k] : Combine(sum[k], values.at[k], reduction);
    }
  }
  Pack<T, kCount> rounded;
#pragma unroll
  for (int k = 0; k < kCount; ++k) rounded.at[k] = Round<T>(sum[k]);
  return rounded;
}

// Calls f with the least of the numbers of members that kernels are made for.
template <typename F>
cudaError_t ForMembers(int members, const F& f) {
  if (members <= 2) return f(std::integral_constant<int, 2>());
  if (members <= 4) return f(std::integral_constant<int, 4>());
  return f(std::integral_constant<int, kMostPeers>());
}

template <typename... Kernels>
cudaError_t Load(Kernels... kernels) {
  cudaError_t error = cudaSuccess;
  cudaFuncAttributes attributes;
  for (cudaError_t loaded : {cudaFuncGetAttributes(&attributes, kernels)...}) {
    if (error == cudaSuccess) error = loaded;
  }
  return error;
}

}  // namespace tp::nccl
