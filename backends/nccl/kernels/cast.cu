#include <type_traits>

#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/walk.cuh"

namespace tp::nccl {
namespace {

// Rounded once: from double to 16 bits not by way of a float.
template <typename To, typename A>
__device__ inline To RoundOnce(A x) {
  if constexpr (sizeof(A) == 8 && sizeof(To) == 2) {
    if constexpr (std::is_same_v<To, __half>) {
      return __double2half(x);
    } else {
      return __double2bfloat16(x);
    }
  } else {
    return Round<To>(static_cast<Accumulator<To>>(x));
  }
}

__host__ __device__ constexpr int Least(int a, int b) { return a < b ? a : b; }

// kVector elements of From fill 16 bytes, or those of To do.
template <typename From, typename To, int kVector>
__global__ void __launch_bounds__(kThreads) CastKernel(const __grid_constant__ Walk<2> walk) {
  AwaitEarlierKernels();
  ForEachVector<kVector>(walk.lines.count, walk.length, [&](int64_t line, int64_t j) {
    int64_t at[2];
    walk.lines.Find(line, at);
    const From* from = static_cast<const From*>(walk.data[0]) + at[0] + j * walk.strides[0];
    To* to = static_cast<To*>(walk.data[1]) + at[1] + j * walk.strides[1];
    constexpr int kFrom = Least(kVector, 16 / static_cast<int>(sizeof(From)));
    constexpr int kTo = Least(kVector, 16 / static_cast<int>(sizeof(To)));
    Accumulator<From> x[kVector];
#pragma unroll
    for (int k = 0; k < kVector; k += kFrom) {
      LoadVector<From, kFrom>(from + k * walk.strides[0], walk.strides[0], x + k);
    }
#pragma unroll
    for (int k = 0; k < kVector; k += kTo) {
      Pack<To, kTo> pack;
#pragma unroll
      for (int i = 0; i < kTo; ++i) pack.at[i] = RoundOnce<To>(x[k + i]);
      *reinterpret_cast<Pack<To, kTo>*>(to + k) = pack;
    }
  });
}

template <typename From, typename To>
cudaError_t Launch(const Walk<2>& walk, cudaStream_t stream) {
  constexpr int kVector = 16 / Least(sizeof(From), sizeof(To));
  if (walk.size() == 0) return cudaSuccess;
  if (walk.even && walk.length % kVector == 0) {  // of one value a line any length is even
    return LaunchKernel(CastKernel<From, To, kVector>,
                        BlocksFor(walk.size() / kVector, kMostWalkBlocks), kThreads, stream, walk);
  }
  return LaunchKernel(CastKernel<From, To, 1>, BlocksFor(walk.size(), kMostWalkBlocks), kThreads,
                      stream, walk);
}

}  // namespace

const Kernel kCastKernel = {Action{"cast"}, [](const KernelCall& c, cudaStream_t stream) {
                              const Walk<2> walk = MakeWalk<2>({c.in[0], c.out[0]});
                              return Dispatch(c.in[0].dtype, [&](auto from) {
                                return Dispatch(c.out[0].dtype, [&](auto to) {
                                  return Launch<decltype(from), decltype(to)>(walk, stream);
                                });
                              });
                            }};

}  // namespace tp::nccl
