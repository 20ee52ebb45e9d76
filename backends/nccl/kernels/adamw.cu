// AdamW in one pass over memory: parameter, moments and gradient are read once and written once.
#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/functions.cuh"
#include "backends/nccl/kernels/walk.cuh"

namespace tp::nccl {
namespace {

template <typename A>
struct Rates {
  A beta_moment, beta_square, rest_moment, rest_square, eps, decay;
};

// What a step feeds, in memory.
struct Fed {
  const void* rate;
  const void* a;
  const void* b;
  const void* factor;
};

// Lanes: the parameter, of type T; w, which is the same or, with kMaster, its master copy; m, v;
// the gradient.
template <typename T, int kVector, bool kMaster>
__global__ void __launch_bounds__(kThreads)
    AdamwKernel(const __grid_constant__ Walk<5> walk, Rates<Accumulator<T>> rates, Fed fed) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  const A rate = *static_cast<const A*>(fed.rate), a = *static_cast<const A*>(fed.a);
  const A b = *static_cast<const A*>(fed.b), factor = *static_cast<const A*>(fed.factor);
  ForEachVector<kVector>(walk.lines.count, walk.length, [&](int64_t line, int64_t j) {
    int64_t at[5];
    walk.lines.Find(line, at);
#pragma unroll
    for (int l = 0; l < 5; ++l) at[l] += j * walk.strides[l];
    A w[kVector], m[kVector], v[kVector], g[kVector];
    if constexpr (kMaster) {
      LoadWide<A, kVector>(static_cast<const A*>(walk.data[1]) + at[1], walk.strides[1], w);
    } else {
      LoadVector<T, kVector>(static_cast<const T*>(walk.data[0]) + at[0], walk.strides[0], w);
    }
    LoadWide<A, kVector>(static_cast<const A*>(walk.data[2]) + at[2], walk.strides[2], m);
    LoadWide<A, kVector>(static_cast<const A*>(walk.data[3]) + at[3], walk.strides[3], v);
    LoadVector<T, kVector>(static_cast<const T*>(walk.data[4]) + at[4], walk.strides[4], g);
#pragma unroll
    for (int k = 0; k < kVector; ++k) {
      const A gradient = factor * g[k];
      m[k] = rates.beta_moment * m[k] + rates.rest_moment * gradient;
      v[k] = rates.beta_square * v[k] + rates.rest_square * (gradient * gradient);
      w[k] -= rate * (m[k] * a / (Sqrt(v[k] * b) + rates.eps) + rates.decay * w[k]);
    }
    StoreVector<T, kVector>(static_cast<T*>(walk.data[0]) + at[0], w);
    if constexpr (kMaster) StoreWide<A, kVector>(static_cast<A*>(walk.data[1]) + at[1], w);
    StoreWide<A, kVector>(static_cast<A*>(walk.data[2]) + at[2], m);
    StoreWide<A, kVector>(static_cast<A*>(walk.data[3]) + at[3], v);
  });
}

template <typename T, bool kMaster>
cudaError_t Launch(const Walk<5>& walk, const KernelCall& c, const Fed& fed, cudaStream_t stream) {
  using A = Accumulator<T>;
  constexpr int kVector = 16 / sizeof(T);
  const auto number = [&](const char* name) { return c.op.attributes.Number(name); };
  const Rates<A> rates = {static_cast<A>(number("beta_moment")),
                          static_cast<A>(number("beta_square")),
                          static_cast<A>(1 - number("beta_moment")),
                          static_cast<A>(1 - number("beta_square")),
                          static_cast<A>(number("eps")),
                          static_cast<A>(number("decay"))};
  if (walk.size() == 0) return cudaSuccess;
  if (walk.even) {
    return LaunchKernel(AdamwKernel<T, kVector, kMaster>,
                        BlocksFor(walk.size() / kVector, kMostWalkBlocks), kThreads, stream, walk,
                        rates, fed);
  }
  return LaunchKernel(AdamwKernel<T, 1, kMaster>, BlocksFor(walk.size(), kMostWalkBlocks), kThreads,
                      stream, walk, rates, fed);
}

// The parameter is input 0; `w` is the number of the input that is updated first.
template <bool kMaster>
cudaError_t Adamw(const KernelCall& c, cudaStream_t stream) {
  constexpr int kW = kMaster ? 1 : 0;
  const Walk<5> walk = MakeWalk<5>({c.in[0], c.in[kW], c.in[kW + 1], c.in[kW + 2], c.in[kW + 3]});
  const Fed fed = {c.in[kW + 4].data, c.in[kW + 5].data, c.in[kW + 6].data, c.in[kW + 7].data};
  return Dispatch(c.in[0].dtype,
                  [&](auto type) { return Launch<decltype(type), kMaster>(walk, c, fed, stream); });
}

template <typename T>
__global__ void ClipFactorKernel(const T* squares, T* factor, Accumulator<T> most) {
  AwaitEarlierKernels();
  const Accumulator<T> norm = Sqrt(Widen(*squares));
  *factor = Round<T>(most / (norm <= most ? most : norm));  // what is no number stays none
}

}  // namespace

const Kernel kAdamwKernel = {Action{"adamw"}, Adamw<false>};
const Kernel kAdamwMasterKernel = {Action{"adamw_master"}, Adamw<true>};
const Kernel kClipFactorKernel = {
    Action{"clip_factor"}, [](const KernelCall& c, cudaStream_t stream) {
      return Dispatch(c.in[0].dtype, [&](auto type) {
        using T = decltype(type);
        const auto most = static_cast<Accumulator<T>>(c.op.attributes.Number("max"));
        return LaunchKernel(ClipFactorKernel<T>, 1, 1, stream, static_cast<const T*>(c.in[0].data),
                            static_cast<T*>(c.out[0].data), most);
      });
    }};

}  // namespace tp::nccl
