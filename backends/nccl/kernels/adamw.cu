// AdamW in one pass over memory: parameter, moments and gradient are read once and written once.
// Packed tensors of a group go in one launch.
#include <algorithm>
#include <array>
#include <optional>
#include <type_traits>

#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/functions.cuh"
#include "backends/nccl/kernels/grouped.h"
#include "backends/nccl/kernels/pieces.cuh"
#include "backends/nccl/kernels/walk.cuh"

namespace tp::nccl {
namespace {

constexpr Action kMasterAction{"adamw_master"};

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

// What a step feeds, read.
template <typename A>
struct Numbers {
  A rate, a, b, factor;

  __device__ explicit Numbers(const Fed& fed)
      : rate(*static_cast<const A*>(fed.rate)),
        a(*static_cast<const A*>(fed.a)),
        b(*static_cast<const A*>(fed.b)),
        factor(*static_cast<const A*>(fed.factor)) {}

  __device__ bool skips() const { return factor == A(0); }
};

// kVector elements at these places, `stride` apart: of the parameter, of type T; of w, which is the
// same or, with kMaster, its master copy; of m, v, and the gradient.
template <typename T, int kVector, bool kMaster>
__device__ inline void Update(T* parameter, void* master, Accumulator<T>* moment,
                              Accumulator<T>* square, const T* gradient, const int64_t* strides,
                              const Rates<Accumulator<T>>& rates,
                              const Numbers<Accumulator<T>>& fed) {
  using A = Accumulator<T>;
  A w[kVector], m[kVector], v[kVector], g[kVector];
  if constexpr (kMaster) {
    LoadWide<A, kVector>(static_cast<const A*>(master), strides[1], w);
  } else {
    LoadVector<T, kVector>(parameter, strides[0], w);
  }
  LoadWide<A, kVector>(moment, strides[2], m);
  LoadWide<A, kVector>(square, strides[3], v);
  LoadVector<T, kVector>(gradient, strides[4], g);
#pragma unroll
  for (int k = 0; k < kVector; ++k) {
    const A clipped = fed.factor * g[k];
    m[k] = rates.beta_moment * m[k] + rates.rest_moment * clipped;
    v[k] = rates.beta_square * v[k] + rates.rest_square * (clipped * clipped);
    w[k] -= fed.rate * (m[k] * fed.a / (Sqrt(v[k] * fed.b) + rates.eps) + rates.decay * w[k]);
  }
  StoreVector<T, kVector>(parameter, w);
  if constexpr (kMaster) StoreWide<A, kVector>(static_cast<A*>(master), w);
  StoreWide<A, kVector>(moment, m);
  StoreWide<A, kVector>(square, v);
}

// Lanes: the parameter, w, m, v, the gradient.
template <typename T, int kVector, bool kMaster>
__global__ void __launch_bounds__(kThreads)
    AdamwKernel(const __grid_constant__ Walk<5> walk, Rates<Accumulator<T>> rates, Fed fed) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  const Numbers<A> numbers(fed);
  if (numbers.skips()) return;
  ForEachVector<kVector>(walk.lines.count, walk.length, [&](int64_t line, int64_t j) {
    int64_t at[5];
    walk.lines.Find(line, at);
#pragma unroll
    for (int l = 0; l < 5; ++l) at[l] += j * walk.strides[l];
    Update<T, kVector, kMaster>(
        static_cast<T*>(walk.data[0]) + at[0], static_cast<A*>(walk.data[1]) + at[1],
        static_cast<A*>(walk.data[2]) + at[2], static_cast<A*>(walk.data[3]) + at[3],
        static_cast<const T*>(walk.data[4]) + at[4], walk.strides, rates, numbers);
  });
}

struct UpdatedTensor {
  void* data[5];  // as the lanes above
  int64_t vectors;
  double decay;
};
constexpr int kPieceVectors = 4 * kThreads;
struct UpdatedTensors {
  Pieces<kPieceVectors> pieces;
  UpdatedTensor tensors[kMostTensors];
};

template <typename T, bool kMaster>
__global__ void __launch_bounds__(kThreads)
    UpdatesKernel(const __grid_constant__ UpdatedTensors updated, Rates<Accumulator<T>> rates,
                  Fed fed) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  constexpr int kVector = 16 / sizeof(T);
  constexpr int64_t kPacked[5] = {1, 1, 1, 1, 1};
  const Numbers<A> numbers(fed);
  if (numbers.skips()) return;
  const int mine = updated.pieces.Mine();
  const UpdatedTensor& tensor = updated.tensors[mine];
  rates.decay = static_cast<A>(tensor.decay);
  updated.pieces.ForEach(mine, tensor.vectors, [&](int64_t vector) {
    const int64_t at = vector * kVector;
    Update<T, kVector, kMaster>(
        static_cast<T*>(tensor.data[0]) + at, static_cast<A*>(tensor.data[1]) + at,
        static_cast<A*>(tensor.data[2]) + at, static_cast<A*>(tensor.data[3]) + at,
        static_cast<const T*>(tensor.data[4]) + at, kPacked, rates, numbers);
  });
}

// One update, read from its call: the parameter is input 0, and input number kW is updated first.
struct OneUpdate {
  explicit OneUpdate(const KernelCall& c) : call(c) {
    const int w = master() ? 1 : 0;
    walk = MakeWalk<5>({c.in[0], c.in[w], c.in[w + 1], c.in[w + 2], c.in[w + 3]});
    fed = {c.in[w + 4].data, c.in[w + 5].data, c.in[w + 6].data, c.in[w + 7].data};
  }

  bool master() const { return call.op.action == kMasterAction; }
  double Number(const char* name) const { return call.op.attributes.Number(name); }
  template <typename A>
  Rates<A> RatesOf() const {
    return {static_cast<A>(Number("beta_moment")),
            static_cast<A>(Number("beta_square")),
            static_cast<A>(1 - Number("beta_moment")),
            static_cast<A>(1 - Number("beta_square")),
            static_cast<A>(Number("eps")),
            static_cast<A>(Number("decay"))};
  }
  bool IsPacked() const {
    bool packed = walk.even && walk.lines.count == 1 && walk.length > 0;
    for (int64_t stride : walk.strides) packed = packed && stride == 1;
    return packed;
  }
  // Whether they differ in tensors and decay alone.
  bool IsLike(const OneUpdate& other) const {
    return master() == other.master() && call.in[0].dtype == other.call.in[0].dtype &&
           fed.rate == other.fed.rate && fed.a == other.fed.a && fed.b == other.fed.b &&
           fed.factor == other.fed.factor &&
           std::ranges::all_of(
               std::array{"beta_moment", "beta_square", "eps"},
               [&](const char* name) { return Number(name) == other.Number(name); });
  }

  const KernelCall& call;
  Walk<5> walk;
  Fed fed;
};

template <typename T, bool kMaster>
cudaError_t LaunchOne(const OneUpdate& one, cudaStream_t stream) {
  constexpr int kVector = 16 / sizeof(T);
  const Walk<5>& walk = one.walk;
  const auto rates = one.RatesOf<Accumulator<T>>();
  if (walk.size() == 0) return cudaSuccess;
  if (walk.even) {
    return LaunchKernel(AdamwKernel<T, kVector, kMaster>,
                        BlocksFor(walk.size() / kVector, kMostWalkBlocks), kThreads, stream, walk,
                        rates, one.fed);
  }
  return LaunchKernel(AdamwKernel<T, 1, kMaster>, BlocksFor(walk.size(), kMostWalkBlocks), kThreads,
                      stream, walk, rates, one.fed);
}

// Calls launch(an element, whether there is a master copy) with values of the types of `one`.
template <typename Launch>
cudaError_t DispatchUpdate(const OneUpdate& one, const Launch& launch) {
  return Dispatch(one.call.in[0].dtype, [&](auto type) {
    return one.master() ? launch(type, std::true_type{}) : launch(type, std::false_type{});
  });
}

cudaError_t LaunchTogether(const UpdatedTensors& updated, const OneUpdate& like,
                           cudaStream_t stream) {
  if (updated.pieces.tensors == 0) return cudaSuccess;
  return DispatchUpdate(like, [&](auto type, auto master) {
    using T = decltype(type);
    return LaunchKernel(UpdatesKernel<T, master.value>,
                        static_cast<unsigned>(updated.pieces.count()), kThreads, stream, updated,
                        like.RatesOf<Accumulator<T>>(), like.fed);
  });
}

cudaError_t Adamw(const KernelCall& c, cudaStream_t stream) {
  return EnqueueUpdates(std::span(&c, 1), stream);
}

template <typename T>
__global__ void ClipFactorKernel(const T* squares, T* factor, Accumulator<T> most) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  const A norm = Sqrt(Widen(*squares));
  const A none = static_cast<A>(nan(""));
  *factor = Round<T>(isfinite(norm) ? most / (norm <= most ? most : norm) : none);
}

}  // namespace

cudaError_t EnqueueUpdates(std::span<const KernelCall> calls, cudaStream_t stream) {
  UpdatedTensors updated;
  std::optional<OneUpdate> like;  // what is in there
  const auto launch = [&] {
    const cudaError_t error = like ? LaunchTogether(updated, *like, stream) : cudaSuccess;
    updated.pieces = {};
    return error;
  };
  for (const KernelCall& call : calls) {
    const OneUpdate one(call);
    cudaError_t error = cudaSuccess;
    if (!one.IsPacked()) {
      error = DispatchUpdate(one, [&](auto type, auto master) {
        return LaunchOne<decltype(type), master.value>(one, stream);
      });
      if (error != cudaSuccess) return error;
      continue;
    }
    if (like && (updated.pieces.full() || !one.IsLike(*like))) error = launch();
    if (error != cudaSuccess) return error;
    like.emplace(call);
    UpdatedTensor& tensor = updated.tensors[updated.pieces.tensors];
    std::copy(std::begin(one.walk.data), std::end(one.walk.data), tensor.data);
    tensor.vectors = one.walk.length / (16 / SizeOf(call.in[0].dtype));
    tensor.decay = one.Number("decay");
    updated.pieces.Add(tensor.vectors);
  }
  return launch();
}

const Kernel kAdamwKernel = {Action{"adamw"}, Adamw};
const Kernel kAdamwMasterKernel = {kMasterAction, Adamw};
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
