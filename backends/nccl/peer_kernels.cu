#include "backends/nccl/element.cuh"
#include "backends/nccl/peer_kernels.h"

namespace tp::nccl {
namespace {

constexpr int kSpinsPerLook = 1 << 12;  // `stop` lies in the host's memory
constexpr int kMostExchangeBlocks = 64;
// What two H200 were fastest with while a product ran: more take from the product, fewer do not
// fill the link.
constexpr int kSumBlocks = kMostPeerBlocks;
constexpr int kSumThreads = 512;
constexpr int kUnroll = 4;

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
__device__ bool Meet(const Meeting& meeting, MeetTo to, unsigned step) {
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

template <typename T>
using LineOf = Pack<T, kLineData / sizeof(T)>;

template <typename T>
__device__ inline LineOf<T> LoadLine(const T* from, int64_t line, int64_t count) {
  constexpr int kPerLine = kLineData / sizeof(T);
  const T* at = from + line * kPerLine;
  LineOf<T> values;
  if ((line + 1) * kPerLine <= count && reinterpret_cast<uintptr_t>(at) % kLineData == 0) {
    return *reinterpret_cast<const LineOf<T>*>(at);
  }
#pragma unroll
  for (int k = 0; k < kPerLine; ++k) {
    values.at[k] = line * kPerLine + k < count ? at[k] : T(0);
  }
  return values;
}

template <typename T>
__device__ inline void StoreLine(T* to, int64_t line, int64_t count, const LineOf<T>& values) {
  constexpr int kPerLine = kLineData / sizeof(T);
  T* at = to + line * kPerLine;
  if ((line + 1) * kPerLine <= count && reinterpret_cast<uintptr_t>(at) % kLineData == 0) {
    *reinterpret_cast<LineOf<T>*>(at) = values;
    return;
  }
#pragma unroll
  for (int k = 0; k < kPerLine; ++k) {
    if (line * kPerLine + k < count) at[k] = values.at[k];
  }
}

template <typename T>
__device__ inline void Post(char* line, const LineOf<T>& values, unsigned step) {
  const uint2 data = reinterpret_cast<const uint2&>(values);
  asm volatile("st.volatile.global.v4.u32 [%0], {%1, %2, %3, %2};" ::"l"(line), "r"(data.x),
               "r"(step), "r"(data.y)
               : "memory");
}

// False where it was stopped.
template <typename T>
__device__ inline bool Await(const char* line, unsigned step, const unsigned* stop,
                             LineOf<T>* values) {
  int spins = 0;
  while (true) {
    uint4 seen;
    asm volatile("ld.volatile.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(seen.x), "=r"(seen.y), "=r"(seen.z), "=r"(seen.w)
                 : "l"(line)
                 : "memory");
    if (seen.y == step && seen.w == step) {
      reinterpret_cast<uint2&>(*values) = make_uint2(seen.x, seen.z);
      return true;
    }
    if (++spins % kSpinsPerLook == 0 && Stopped(stop)) return false;
  }
}

// A member that sends nothing sends an empty line: to have come is what lets others go on.
template <typename T>
__device__ __host__ inline int64_t LinesOf(int64_t count) {
  constexpr int kPerLine = kLineData / sizeof(T);
  return count == 0 ? 1 : (count + kPerLine - 1) / kPerLine;
}

template <typename T>
struct Inbox {
  const Exchange& x;
  unsigned step;

  // Where the lines from one member to another one begin.
  __device__ char* Lines(int from, int to) const {
    return x.inboxes[to] + ((step % 2) * x.meeting.members + from) * x.lines * kLineBytes;
  }
};

// This thread's lines, of those that go to or come from a member.
template <typename T, typename Body>
__device__ inline bool ForEachLine(int64_t count, const Body& body) {
  const int64_t lines = LinesOf<T>(count);
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < lines;
       i += step) {
    if (!body(i)) return false;
  }
  return true;
}

template <typename T>
__device__ bool SumLines(const Exchange& x, const Inbox<T>& inbox) {
  using A = Accumulator<T>;
  constexpr int kPerLine = kLineData / sizeof(T);
  const int me = x.meeting.me;
  const T* own = reinterpret_cast<const T*>(x.send) + x.to[me].send_from;
  T* out = reinterpret_cast<T*>(x.receive) + x.from[me].receive_at;
  const int64_t count = x.from[me].count;
  return ForEachLine<T>(count, [&](int64_t i) {
    A sum[kPerLine];
    for (int member = 0; member < x.meeting.members; ++member) {
      LineOf<T> line;
      if (member == me) {
        line = LoadLine(own, i, count);
      } else if (!Await<T>(inbox.Lines(member, me) + i * kLineBytes, inbox.step, x.meeting.stop,
                           &line)) {
        return false;
      }
#pragma unroll
      for (int k = 0; k < kPerLine; ++k) {
        const A value = Widen(line.at[k]);
        sum[k] = member == 0 ? value : Combine(sum[k], value, x.reduction);
      }
    }
    LineOf<T> rounded;
#pragma unroll
    for (int k = 0; k < kPerLine; ++k) rounded.at[k] = Round<T>(sum[k]);
    StoreLine(out, i, count, rounded);
    return true;
  });
}

template <typename T>
__device__ bool PlaceLines(const Exchange& x, const Inbox<T>& inbox) {
  const int me = x.meeting.me;
  for (int member = 0; member < x.meeting.members; ++member) {
    const Transfer& transfer = x.from[member];
    T* out = reinterpret_cast<T*>(x.receive) + transfer.receive_at;
    const T* own = reinterpret_cast<const T*>(x.send) + x.to[me].send_from;
    if (member == me && own == out) continue;
    const bool all = ForEachLine<T>(transfer.count, [&](int64_t i) {
      LineOf<T> line;
      if (member == me) {
        line = LoadLine(own, i, transfer.count);
      } else if (!Await<T>(inbox.Lines(member, me) + i * kLineBytes, inbox.step, x.meeting.stop,
                           &line)) {
        return false;
      }
      StoreLine(out, i, transfer.count, line);
      return true;
    });
    if (!all) return false;
  }
  return true;
}

// A thread sends and receives the same lines, so that it may sum in place. No block waits for
// another one of its own member: what it waits for was sent by the same block elsewhere.
template <typename T>
__global__ void __launch_bounds__(kThreads) ExchangeKernel(Exchange x) {
  const Inbox<T> inbox{x, StepOf(x.meeting)};
  const int me = x.meeting.me;
  for (int k = 1; k < x.meeting.members; ++k) {
    const int other = (me + k) % x.meeting.members;
    const Transfer& transfer = x.to[other];
    const T* from = reinterpret_cast<const T*>(x.send) + transfer.send_from;
    char* lines = inbox.Lines(me, other);
    ForEachLine<T>(transfer.count, [&](int64_t i) {
      Post<T>(lines + i * kLineBytes, LoadLine(from, i, transfer.count), inbox.step);
      return true;
    });
  }
  if (x.reduces) {
    SumLines<T>(x, inbox);
  } else {
    PlaceLines<T>(x, inbox);
  }
  EndStep(x.meeting, inbox.step);
}

// Sums `vectors` vectors from element `begin` on and hands them out.
template <typename T, int kVector>
__device__ void SumShare(const ShareSum& x, int64_t begin, int64_t vectors) {
  using A = Accumulator<T>;
  using V = Pack<T, kVector>;
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  for (int64_t base = first; base < vectors; base += kUnroll * step) {
    A sum[kUnroll][kVector];
    for (int member = 0; member < x.meeting.members; ++member) {
      const V* from =
          reinterpret_cast<const V*>(reinterpret_cast<const T*>(x.sends[member]) + begin);
      V seen[kUnroll];
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        if (base + u * step < vectors) seen[u] = from[base + u * step];
      }
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
#pragma unroll
        for (int k = 0; k < kVector; ++k) {
          const A value = Widen(seen[u].at[k]);
          sum[u][k] = member == 0 ? value : Combine(sum[u][k], value, x.reduction);
        }
      }
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (base + u * step >= vectors) continue;
      V rounded;
#pragma unroll
      for (int k = 0; k < kVector; ++k) rounded.at[k] = Round<T>(sum[u][k]);
      for (int r = 0; r < x.receivers; ++r) {
        V* to = reinterpret_cast<V*>(reinterpret_cast<T*>(x.receives[r]) + begin);
        to[base + u * step] = rounded;
      }
    }
  }
}

template <typename T, int kVector>
__global__ void __launch_bounds__(kSumThreads) ShareSumKernel(ShareSum x) {
  const unsigned step = StepOf(x.meeting);
  if (!Meet(x.meeting, MeetTo::kBegin, step)) return;
  const int64_t vectors = x.count / kVector;
  SumShare<T, kVector>(x, 0, vectors);
  if (kVector > 1) SumShare<T, 1>(x, vectors * kVector, x.count - vectors * kVector);
  if (!Meet(x.meeting, MeetTo::kEnd, step)) return;
  EndStep(x.meeting, step);
}

__global__ void MeetingKernel(Meeting meeting, MeetTo to) {
  const unsigned step = StepOf(meeting);
  if (!Meet(meeting, to, step)) return;
  if (to == MeetTo::kEnd) EndStep(meeting, step);
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

bool IsAligned(const ShareSum& sum) {
  uintptr_t bits = 0;
  for (int i = 0; i < sum.meeting.members; ++i) bits |= reinterpret_cast<uintptr_t>(sum.sends[i]);
  for (int i = 0; i < sum.receivers; ++i) bits |= reinterpret_cast<uintptr_t>(sum.receives[i]);
  return bits % 16 == 0;
}

}  // namespace

cudaError_t EnqueueExchange(const Exchange& exchange, DType dtype, cudaStream_t stream) {
  const unsigned blocks = BlocksFor(exchange.lines, kMostExchangeBlocks);
  return Dispatch(dtype, [&](auto type) {
    ExchangeKernel<decltype(type)><<<blocks, kThreads, 0, stream>>>(exchange);
    return cudaGetLastError();
  });
}

cudaError_t EnqueueShareSum(const ShareSum& sum, DType dtype, cudaStream_t stream,
                            cudaEvent_t begun) {
  cudaLaunchAttribute attribute;
  attribute.id = cudaLaunchAttributeLaunchCompletionEvent;
  attribute.val.launchCompletionEvent = {begun, 0};
  cudaLaunchConfig_t config = {};
  config.gridDim = kSumBlocks;
  config.blockDim = kSumThreads;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = begun == nullptr ? 0 : 1;
  return Dispatch(dtype, [&](auto type) {
    using T = decltype(type);
    return IsAligned(sum) ? cudaLaunchKernelEx(&config, ShareSumKernel<T, 16 / sizeof(T)>, sum)
                          : cudaLaunchKernelEx(&config, ShareSumKernel<T, 1>, sum);
  });
}

cudaError_t LoadPeerKernels(DType dtype) {
  return Dispatch(dtype, [&](auto type) {
    using T = decltype(type);
    return Load(ExchangeKernel<T>, ShareSumKernel<T, 16 / sizeof(T)>, ShareSumKernel<T, 1>,
                MeetingKernel);
  });
}

cudaError_t EnqueueMeeting(const Meeting& meeting, MeetTo to, cudaStream_t stream) {
  MeetingKernel<<<1, kMostPeers, 0, stream>>>(meeting, to);
  return cudaGetLastError();
}

}  // namespace tp::nccl
