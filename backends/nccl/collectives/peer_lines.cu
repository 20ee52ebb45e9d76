// Collectives by lines: 8 bytes of data with two flags, each 16 bytes moved as one.
#include <type_traits>

#include "backends/nccl/collectives/peer_device.cuh"

namespace tp::nccl {
namespace {

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

__device__ inline uint4 Peek(const char* line) {
  uint4 seen;
  asm volatile("ld.volatile.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(seen.x), "=r"(seen.y), "=r"(seen.z), "=r"(seen.w)
               : "l"(line)
               : "memory");
  return seen;
}

// A member that sends nothing sends an empty line: to have come is what lets others go on.
template <typename T>
__device__ inline int64_t LinesOf(int64_t count) {
  constexpr int kPerLine = kLineData / sizeof(T);
  return count == 0 ? 1 : (count + kPerLine - 1) / kPerLine;
}

// Where lines lie that are sent in one of a step's rounds.
struct Inbox {
  const Exchange& x;
  unsigned step;
  int round;

  // Those from one member to another one begin here.
  __device__ char* Lines(int from, int to) const {
    const int64_t slot = (step % 2) * x.rounds + round;
    return x.inboxes[to] + (slot * x.meeting.members + from) * x.lines * kLineBytes;
  }
};

// This thread's lines: the same ones in every round and of every member.
template <typename Body>
__device__ inline bool ForEachLine(int64_t lines, const Body& body) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < lines;
       i += step) {
    if (!body(i)) return false;
  }
  return true;
}

// Line i of those members for which `wanted`; they are asked all at once, until each has come.
// False where it was stopped.
template <typename T, int kMost>
__device__ inline bool AwaitLines(const Inbox& inbox, int64_t i, const bool (&wanted)[kMost],
                                  LineOf<T> (&lines)[kMost]) {
  const Meeting& meeting = inbox.x.meeting;
  const char* first = inbox.Lines(0, meeting.me) + i * kLineBytes;
  const int64_t stride = inbox.x.lines * kLineBytes;
  int spins = 0;
  while (true) {
    uint4 seen[kMost];
#pragma unroll
    for (int m = 0; m < kMost; ++m) {
      if (wanted[m]) seen[m] = Peek(first + m * stride);
    }
    bool all = true;
#pragma unroll
    for (int m = 0; m < kMost; ++m) {
      if (!wanted[m]) continue;
      all = all && seen[m].y == inbox.step && seen[m].w == inbox.step;
      reinterpret_cast<uint2&>(lines[m]) = make_uint2(seen[m].x, seen[m].z);
    }
    if (all) return true;
    if (++spins % kSpinsPerLook == 0 && Stopped(meeting.stop)) return false;
  }
}

// Sends the others what is theirs.
template <typename T, int kMost>
__device__ inline void PostLines(const Exchange& x, const Inbox& inbox) {
  const int members = x.meeting.members, me = x.meeting.me;
  ForEachLine(x.lines, [&](int64_t i) {
    LineOf<T> lines[kMost];
#pragma unroll
    for (int k = 1; k < kMost; ++k) {
      const Transfer& transfer = x.to[(me + k) % members];
      if (k >= members || i >= LinesOf<T>(transfer.count)) continue;
      const T* from = reinterpret_cast<const T*>(x.send) + transfer.send_from;
      lines[k] = LoadLine(from, i, transfer.count);
    }
#pragma unroll
    for (int k = 1; k < kMost; ++k) {
      const int other = (me + k) % members;
      if (k >= members || i >= LinesOf<T>(x.to[other].count)) continue;
      Post<T>(inbox.Lines(me, other) + i * kLineBytes, lines[k], inbox.step);
    }
    return true;
  });
}

// Sums what has come, and sends the sums on where there is an inbox for them.
template <typename T, int kMost>
__device__ inline bool SumLines(const Exchange& x, const Inbox& inbox, const Inbox* onward) {
  const int members = x.meeting.members, me = x.meeting.me;
  const T* own = reinterpret_cast<const T*>(x.send) + x.to[me].send_from;
  T* out = reinterpret_cast<T*>(x.receive) + x.from[me].receive_at;
  const int64_t count = x.from[me].count;
  return ForEachLine(LinesOf<T>(count), [&](int64_t i) {
    const LineOf<T> mine = LoadLine(own, i, count);
    bool wanted[kMost];
#pragma unroll
    for (int m = 0; m < kMost; ++m) wanted[m] = m < members && m != me;
    LineOf<T> lines[kMost];
    if (!AwaitLines<T, kMost>(inbox, i, wanted, lines)) return false;
    const LineOf<T> sum = CombineMembers<T, kMost, kLineData / sizeof(T)>(
        members, x.reduction, [&](int m) { return m == me ? mine : lines[m]; });
    if (onward != nullptr) {
#pragma unroll
      for (int k = 1; k < kMost; ++k) {
        if (k >= members) continue;
        Post<T>(onward->Lines(me, (me + k) % members) + i * kLineBytes, sum, onward->step);
      }
    }
    StoreLine(out, i, count, sum);
    return true;
  });
}

// Puts what has come from the others where it belongs.
template <typename T, int kMost>
__device__ inline void PlaceLines(const Exchange& x, const Inbox& inbox) {
  const int members = x.meeting.members, me = x.meeting.me;
  ForEachLine(x.lines, [&](int64_t i) {
    bool wanted[kMost];
#pragma unroll
    for (int m = 0; m < kMost; ++m) {
      wanted[m] = m < members && m != me && i < LinesOf<T>(x.from[m].count);
    }
    LineOf<T> lines[kMost];
    if (!AwaitLines<T, kMost>(inbox, i, wanted, lines)) return false;
#pragma unroll
    for (int m = 0; m < kMost; ++m) {
      if (!wanted[m]) continue;
      T* out = reinterpret_cast<T*>(x.receive) + x.from[m].receive_at;
      StoreLine(out, i, x.from[m].count, lines[m]);
    }
    return true;
  });
}

// What a member sends to itself.
template <typename T>
__device__ inline void PlaceOwn(const Exchange& x) {
  const int me = x.meeting.me;
  const T* own = reinterpret_cast<const T*>(x.send) + x.to[me].send_from;
  T* out = reinterpret_cast<T*>(x.receive) + x.from[me].receive_at;
  const int64_t count = x.to[me].count;
  if (own == out) return;
  ForEachLine(LinesOf<T>(count), [&](int64_t i) {
    StoreLine(out, i, count, LoadLine(own, i, count));
    return true;
  });
}

// A thread sends and receives the same lines, so that it may sum in place. No block waits for
// another one of its own member: what it waits for was sent by the same block elsewhere.
template <typename T, int kMost>
__global__ void __launch_bounds__(kThreads) ExchangeKernel(const __grid_constant__ Exchange x) {
  const Inbox inbox{x, StepOf(x.meeting), 0};
  PostLines<T, kMost>(x, inbox);
  if (x.reduces) {
    SumLines<T, kMost>(x, inbox, nullptr);
  } else {
    PlaceOwn<T>(x);
    PlaceLines<T, kMost>(x, inbox);
  }
  EndStep(x.meeting, inbox.step);
}

template <typename T, int kMost>
__global__ void __launch_bounds__(kThreads) TwoStepKernel(const __grid_constant__ Exchange x) {
  const Inbox shares{x, StepOf(x.meeting), 0};
  const Inbox sums{x, shares.step, 1};
  PostLines<T, kMost>(x, shares);
  if (SumLines<T, kMost>(x, shares, &sums)) PlaceLines<T, kMost>(x, sums);
  EndStep(x.meeting, shares.step);
}

}  // namespace

cudaError_t EnqueueExchange(const Exchange& exchange, DType dtype, cudaStream_t stream) {
  const unsigned blocks = BlocksFor(exchange.lines, exchange.most_blocks);
  return Dispatch(dtype, [&](auto type) {
    using T = decltype(type);
    return ForMembers(exchange.meeting.members, [&](auto most) {
      if (exchange.rounds == 1) {
        ExchangeKernel<T, most.value><<<blocks, kThreads, 0, stream>>>(exchange);
      } else {
        TwoStepKernel<T, most.value><<<blocks, kThreads, 0, stream>>>(exchange);
      }
      return cudaGetLastError();
    });
  });
}

cudaError_t LoadLineKernels(DType dtype, int members) {
  return Dispatch(dtype, [&](auto type) {
    using T = decltype(type);
    return ForMembers(members, [&](auto most) {
      return Load(ExchangeKernel<T, most.value>, TwoStepKernel<T, most.value>);
    });
  });
}

}  // namespace tp::nccl
