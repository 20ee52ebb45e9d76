// Collectives by plain reads and writes between two meetings.
#include <type_traits>

#include "backends/nccl/collectives/peer_device.cuh"
#include "backends/nccl/kernels/launch_kernel.cuh"

namespace tp::nccl {
namespace {

// What two H200 were fastest with while a product ran: more take from the product, fewer do not
// fill the link.
constexpr int kBulkBlocks = kMostPeerBlocks;
constexpr int kBulkThreads = 512;
constexpr int kLoads = 16;  // of a thread, under way at the same time

// Sums `vectors` vectors from element `begin` on and hands them out.
template <typename T, int kVector, int kMost>
__device__ void SumShare(const ShareSum& x, int64_t begin, int64_t vectors) {
  using V = Pack<T, kVector>;
  // Unpacked only where it is summed up: 16-bit elements would take a register each.
  using Raw = std::conditional_t<sizeof(V) == sizeof(uint4), uint4, V>;
  constexpr int kUnroll = kLoads / kMost;
  const int members = x.meeting.members;
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  for (int64_t base = first; base < vectors; base += kUnroll * step) {
    Raw seen[kMost][kUnroll];
#pragma unroll
    for (int m = 0; m < kMost; ++m) {
      if (m >= members) continue;
      const Raw* from =
          reinterpret_cast<const Raw*>(reinterpret_cast<const T*>(x.sends[m]) + begin);
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        if (base + u * step < vectors) seen[m][u] = from[base + u * step];
      }
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (base + u * step >= vectors) continue;
      const V sum = CombineMembers<T, kMost, kVector>(
          members, x.reduction, [&](int m) { return reinterpret_cast<const V&>(seen[m][u]); });
      for (int r = 0; r < x.receivers; ++r) {
        V* to = reinterpret_cast<V*>(reinterpret_cast<T*>(x.receives[r]) + begin);
        to[base + u * step] = sum;
      }
    }
  }
}

template <typename T, int kVector, int kMost>
__global__ void __launch_bounds__(kBulkThreads) ShareSumKernel(const __grid_constant__ ShareSum x) {
  const unsigned step = StepOf(x.meeting);
  if (!Meet(x.meeting, MeetTo::kBegin, step)) return;
  const int64_t vectors = x.count / kVector;
  SumShare<T, kVector, kMost>(x, 0, vectors);
  if (kVector > 1) SumShare<T, 1, kMost>(x, vectors * kVector, x.count - vectors * kVector);
  if (!Meet(x.meeting, MeetTo::kEnd, step)) return;
  EndStep(x.meeting, step);
}

// Unit: as many bytes as every part begins and ends at a multiple of.
template <typename Unit>
__device__ void WritePart(const Part& part) {
  constexpr int kUnroll = 4;
  const Unit* from = reinterpret_cast<const Unit*>(part.from);
  Unit* to = reinterpret_cast<Unit*>(part.to);
  const int64_t units = part.bytes / static_cast<int64_t>(sizeof(Unit));
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  for (int64_t base = first; base < units; base += kUnroll * step) {
    Unit seen[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (base + u * step < units) seen[u] = from[base + u * step];
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (base + u * step < units) to[base + u * step] = seen[u];
    }
  }
}

template <typename Unit>
__global__ void __launch_bounds__(kBulkThreads) WriteKernel(const __grid_constant__ Writes x) {
  const unsigned step = StepOf(x.meeting);
  if (!Meet(x.meeting, MeetTo::kBegin, step)) return;
  for (int i = 0; i < x.parts; ++i) WritePart<Unit>(x.part[i]);
  if (!Meet(x.meeting, MeetTo::kEnd, step)) return;
  EndStep(x.meeting, step);
}

__global__ void MeetingKernel(const __grid_constant__ Meeting meeting, MeetTo to) {
  const unsigned step = StepOf(meeting);
  if (!Meet(meeting, to, step)) return;
  if (to == MeetTo::kEnd) EndStep(meeting, step);
}

__global__ void NextStepKernel(unsigned* step) { ++*step; }

__global__ void ArrivalsKernel(const __grid_constant__ Arrivals arrivals) {
  AwaitEarlierKernels();
  if (threadIdx.x >= arrivals.count) return;
  const unsigned* told = arrivals.told[threadIdx.x];
  const unsigned step = *static_cast<const volatile unsigned*>(arrivals.step);
  int spins = 0;
  while (static_cast<int>(Acquire(told) - step) < 0) {
    if (++spins % kSpinsPerLook == 0 && Stopped(arrivals.stop)) return;
  }
}

bool IsAligned(const ShareSum& sum) {
  uintptr_t bits = 0;
  for (int i = 0; i < sum.meeting.members; ++i) bits |= reinterpret_cast<uintptr_t>(sum.sends[i]);
  for (int i = 0; i < sum.receivers; ++i) bits |= reinterpret_cast<uintptr_t>(sum.receives[i]);
  return bits % 16 == 0;
}

// `begun`, where there is one, has passed once the kernel has its multiprocessors.
template <typename Argument>
cudaError_t LaunchBulk(void (*kernel)(Argument), const std::type_identity_t<Argument>& argument,
                       cudaStream_t stream, cudaEvent_t begun) {
  cudaLaunchAttribute attribute;
  attribute.id = cudaLaunchAttributeLaunchCompletionEvent;
  attribute.val.launchCompletionEvent = {begun, 0};
  cudaLaunchConfig_t config = {};
  config.gridDim = kBulkBlocks;
  config.blockDim = kBulkThreads;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = begun == nullptr ? 0 : 1;
  return cudaLaunchKernelEx(&config, kernel, argument);
}

// Calls f with a value of the largest unit that all parts are made of.
template <typename F>
cudaError_t ForUnit(const Writes& writes, const F& f) {
  uintptr_t bits = 0;
  for (int i = 0; i < writes.parts; ++i) {
    const Part& part = writes.part[i];
    bits |= reinterpret_cast<uintptr_t>(part.from) | reinterpret_cast<uintptr_t>(part.to);
    bits |= static_cast<uintptr_t>(part.bytes);
  }
  if (bits % 16 == 0) return f(uint4{});
  if (bits % 8 == 0) return f(uint2{});
  if (bits % 4 == 0) return f(uint32_t{});
  return f(uint16_t{});
}

}  // namespace

cudaError_t EnqueueShareSum(const ShareSum& sum, DType dtype, cudaStream_t stream,
                            cudaEvent_t begun) {
  return Dispatch(dtype, [&](auto type) {
    using T = decltype(type);
    return ForMembers(sum.meeting.members, [&](auto most) {
      return IsAligned(sum)
                 ? LaunchBulk(ShareSumKernel<T, 16 / sizeof(T), most.value>, sum, stream, begun)
                 : LaunchBulk(ShareSumKernel<T, 1, most.value>, sum, stream, begun);
    });
  });
}

cudaError_t EnqueueWrites(const Writes& writes, cudaStream_t stream, cudaEvent_t begun) {
  return ForUnit(writes, [&](auto unit) {
    return LaunchBulk(WriteKernel<decltype(unit)>, writes, stream, begun);
  });
}

cudaError_t EnqueueMeeting(const Meeting& meeting, MeetTo to, cudaStream_t stream) {
  MeetingKernel<<<1, kMostPeers, 0, stream>>>(meeting, to);
  return cudaGetLastError();
}

cudaError_t EnqueueNextStep(unsigned* step, cudaStream_t stream) {
  NextStepKernel<<<1, 1, 0, stream>>>(step);
  return cudaGetLastError();
}

cudaError_t EnqueueArrivals(const Arrivals& arrivals, cudaStream_t stream) {
  return LaunchKernel(ArrivalsKernel, 1, kMostPeers, stream, arrivals);
}

cudaError_t LoadBulkKernels(DType dtype, int members) {
  const cudaError_t writes = Load(MeetingKernel, NextStepKernel, ArrivalsKernel, WriteKernel<uint4>,
                                  WriteKernel<uint2>, WriteKernel<uint32_t>, WriteKernel<uint16_t>);
  if (writes != cudaSuccess) return writes;
  return Dispatch(dtype, [&](auto type) {
    using T = decltype(type);
    return ForMembers(members, [&](auto most) {
      return Load(ShareSumKernel<T, 16 / sizeof(T), most.value>, ShareSumKernel<T, 1, most.value>);
    });
  });
}

}  // namespace tp::nccl
