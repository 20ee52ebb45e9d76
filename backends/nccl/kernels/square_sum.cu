#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/rows.cuh"

namespace tp::nccl {
namespace {

template <typename T, int kVector>
__global__ void __launch_bounds__(kThreads)
    SquareSumKernel(const __grid_constant__ Walk<1> walk, Accumulator<T>* out, Scratch scratch) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  double sum = 0;
  ForEachVector<kVector>(walk.lines.count, walk.length, [&](int64_t line, int64_t j) {
    int64_t at[1];
    walk.lines.Find(line, at);
    A x[kVector];
    LoadVector<T, kVector>(static_cast<const T*>(walk.data[0]) + at[0] + j * walk.strides[0],
                           walk.strides[0], x);
#pragma unroll
    for (int k = 0; k < kVector; ++k) {
      sum += static_cast<double>(x[k]) * static_cast<double>(x[k]);
    }
  });
  SumOverGrid(sum, scratch, [&](double total) { *out = static_cast<A>(total); });
}

cudaError_t SquareSum(const KernelCall& c, cudaStream_t stream) {
  const Walk<1> walk = MakeWalk<1>({c.in[0]});
  return Dispatch(c.in[0].dtype, [&](auto type) {
    using T = decltype(type);
    constexpr int kVector = 16 / sizeof(T);
    auto* out = static_cast<Accumulator<T>*>(c.out[0].data);
    if (walk.even) {
      return LaunchKernel(SquareSumKernel<T, kVector>,
                          BlocksFor(walk.size() / kVector, kMostSumBlocks), kThreads, stream, walk,
                          out, c.scratch);
    }
    return LaunchKernel(SquareSumKernel<T, 1>, BlocksFor(walk.size(), kMostSumBlocks), kThreads,
                        stream, walk, out, c.scratch);
  });
}

}  // namespace

const Kernel kSquareSumKernel = {Action{"square_sum"}, SquareSum,
                                 [](const KernelCall&) { return kSumScratch; }};

}  // namespace tp::nccl
