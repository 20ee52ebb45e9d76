// Attention in tiles of queries and keys that fit a multiprocessor, with the softmax taken online
// and the logarithm of its sum kept; the gradient works the weights out again. Any sizes, types and
// strides. A block takes a tile of one head's queries, or of one group's keys, and goes through the
// others in order: a head's bits depend on no other head. FlashAttention, Dao et al., 2022.
#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/attention.cuh"
#include "backends/nccl/kernels/functions.cuh"
#include "backends/nccl/kernels/fused_call.h"
#include "backends/nccl/kernels/rows.cuh"

namespace tp::nccl {
namespace {

// A tile of lines, widened, in shared memory; lines of another bank each. Beyond `last` zeros.
template <typename T, int kLines>
__device__ inline void LoadTile(const Operand& x, const Place& at, int64_t r, int64_t first,
                                int64_t last, int64_t size, Accumulator<T>* tile) {
  for (int64_t i = threadIdx.x; i < kLines * size; i += blockDim.x) {
    const int64_t line = i / size, d = i % size;
    tile[line * (size + 1) + d] = first + line < last
                                      ? Widen(At<T>(x, at.b, first + line, at.g, r)[d * x.d])
                                      : Accumulator<T>(0);
  }
}

template <typename A>
__device__ inline A Dot(const A* a, const A* b, int64_t size) {
  A sum = 0;
  for (int64_t d = 0; d < size; ++d) sum += a[d] * b[d];
  return sum;
}

// to[line, d] = the sum over j of weights[line, j] x[j, d], or with weights[j, line], added.
template <int kLines, int kTerms, bool kTurned, typename A>
__device__ inline void AddProduct(const A* weights, const A* x, int64_t size, A* to) {
  for (int64_t i = threadIdx.x; i < kLines * size; i += blockDim.x) {
    const int64_t line = i / size, d = i % size;
    A sum = to[line * (size + 1) + d];
#pragma unroll
    for (int j = 0; j < kTerms; ++j) {
      const A weight =
          kTurned ? weights[j * (kLines + 1) + line] : weights[line * (kTerms + 1) + j];
      sum += weight * x[j * (size + 1) + d];
    }
    to[line * (size + 1) + d] = sum;
  }
}

template <int kLines, typename A>
__device__ inline void Clear(A* tile, int64_t size) {
  for (int64_t i = threadIdx.x; i < kLines * (size + 1); i += blockDim.x) tile[i] = 0;
}

template <typename T, int kLines>
__device__ inline void StoreTile(const Accumulator<T>* tile, const Operand& x, const Place& at,
                                 int64_t r, int64_t first, int64_t last, int64_t size) {
  for (int64_t i = threadIdx.x; i < kLines * size; i += blockDim.x) {
    const int64_t line = i / size, d = i % size;
    if (first + line >= last) continue;
    At<T>(x, at.b, first + line, at.g, r)[d * x.d] = Round<T>(tile[line * (size + 1) + d]);
  }
}

constexpr int kAttentionThreads = 128;

// A thread a line of scores for its statistics.
template <typename T, int kQ, int kK>
__global__ void __launch_bounds__(kAttentionThreads)
    AttentionKernel(const __grid_constant__ ForwardCall call, int64_t tiles) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  extern __shared__ __align__(16) unsigned char memory[];
  const Heads& heads = call.heads;
  const int64_t size = heads.size, line = size + 1;
  A* const q = reinterpret_cast<A*>(memory);
  A* const k = q + kQ * line;
  A* const v = k + kK * line;
  A* const o = v + kK * line;
  A* const weights = o + kQ * line;
  __shared__ A greatest[kQ], sum[kQ], fade[kQ];
  const Place at = FindPlace(heads, heads.per_group, tiles);
  const int64_t first = at.tile * kQ, last = min(first + kQ, heads.queries);
  LoadTile<T, kQ>(call.q, at, at.r, first, last, size, q);
  Clear<kQ>(o, size);
  if (threadIdx.x < kQ) {
    greatest[threadIdx.x] = -INFINITY;
    sum[threadIdx.x] = 0;
  }
  const int64_t end = Seen(heads, last - 1);
  for (int64_t begin = 0; begin < end; begin += kK) {
    __syncthreads();
    LoadTile<T, kK>(call.k, at, 0, begin, end, size, k);
    LoadTile<T, kK>(call.v, at, 0, begin, end, size, v);
    __syncthreads();
    for (int i = threadIdx.x; i < kQ * kK; i += kAttentionThreads) {
      const int row = i / kK, key = i % kK;
      const bool seen = first + row < last && Sees(heads, at.b, first + row, begin + key);
      weights[row * (kK + 1) + key] =
          seen ? Dot(q + row * line, k + key * line, size) * static_cast<A>(call.scale) : -INFINITY;
    }
    __syncthreads();
    if (threadIdx.x < kQ) {
      A* const row = weights + threadIdx.x * (kK + 1);
      const A before = greatest[threadIdx.x];
      A now = before;
      for (int key = 0; key < kK; ++key) now = Greater{}(now, row[key]);
      A total = 0;
      for (int key = 0; key < kK; ++key) {
        row[key] = row[key] == -INFINITY ? A(0) : Exp(row[key] - now);
        total += row[key];
      }
      fade[threadIdx.x] = before == -INFINITY ? A(0) : Exp(before - now);
      sum[threadIdx.x] = sum[threadIdx.x] * fade[threadIdx.x] + total;
      greatest[threadIdx.x] = now;
    }
    __syncthreads();
    for (int64_t i = threadIdx.x; i < kQ * line; i += kAttentionThreads) o[i] *= fade[i / line];
    __syncthreads();
    AddProduct<kQ, kK, false>(weights, v, size, o);
  }
  __syncthreads();
  for (int64_t i = threadIdx.x; i < kQ * line; i += kAttentionThreads) {
    const A total = sum[i / line];
    o[i] = total == A(0) ? A(0) : o[i] / total;
  }
  __syncthreads();
  StoreTile<T, kQ>(o, call.o, at, at.r, first, last, size);
  if (threadIdx.x < kQ && first + threadIdx.x < last) {
    const A total = sum[threadIdx.x];
    *At<A>(call.lse, at.b, first + threadIdx.x, at.g, at.r) =
        total == A(0) ? A(0) : Log(total) + greatest[threadIdx.x];
  }
}

// What the gradient needs of a tile of queries: do . o and the logarithm of the sum.
template <typename T, int kQ>
__device__ inline void LoadLines(const BackwardCall& call, const Place& at, int64_t r,
                                 int64_t first, int64_t last, Accumulator<T>* along,
                                 Accumulator<T>* lse) {
  using A = Accumulator<T>;
  for (int row = threadIdx.x / kWarp; row < kQ; row += kAttentionThreads / kWarp) {
    A sum = 0;
    if (first + row < last) {
      const T* o = At<T>(call.o, at.b, first + row, at.g, r);
      const T* dout = At<T>(call.dout, at.b, first + row, at.g, r);
      for (int64_t d = threadIdx.x % kWarp; d < call.heads.size; d += kWarp) {
        sum += Widen(dout[d * call.dout.d]) * Widen(o[d * call.o.d]);
      }
    }
    sum = OverRow<kWarp>(sum, Plus{});
    if (threadIdx.x % kWarp == 0) {
      along[row] = sum;
      lse[row] = first + row < last ? *At<A>(call.lse, at.b, first + row, at.g, r) : A(0);
    }
  }
}

// weights = exp(scale (q . k) - lse), and slopes = scale weights (do . v - do . o), where the query
// sees the key, and else 0.
template <int kQ, int kK, typename A>
__device__ inline void WeightsAndSlopes(const Heads& heads, double scale, int64_t b, int64_t first,
                                        int64_t last, int64_t begin, const A* q, const A* dout,
                                        const A* k, const A* v, const A* along, const A* lse,
                                        A* weights, A* slopes) {
  const int64_t line = heads.size + 1;
  const A by = static_cast<A>(scale);
  for (int i = threadIdx.x; i < kQ * kK; i += kAttentionThreads) {
    const int row = i / kK, key = i % kK;
    const bool seen = first + row < last && Sees(heads, b, first + row, begin + key);
    A weight = 0, slope = 0;
    if (seen) {
      weight = Exp(Dot(q + row * line, k + key * line, heads.size) * by - lse[row]);
      slope = weight * (Dot(dout + row * line, v + key * line, heads.size) - along[row]) * by;
    }
    weights[row * (kK + 1) + key] = weight;
    slopes[row * (kK + 1) + key] = slope;
  }
}

template <typename T, int kQ, int kK>
__global__ void __launch_bounds__(kAttentionThreads)
    AttentionQueryGradKernel(const __grid_constant__ BackwardCall call, int64_t tiles) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  extern __shared__ __align__(16) unsigned char memory[];
  const Heads& heads = call.heads;
  const int64_t size = heads.size, line = size + 1;
  A* const q = reinterpret_cast<A*>(memory);
  A* const dout = q + kQ * line;
  A* const dq = dout + kQ * line;
  A* const k = dq + kQ * line;
  A* const v = k + kK * line;
  A* const weights = v + kK * line;
  A* const slopes = weights + kQ * (kK + 1);
  __shared__ A along[kQ], lse[kQ];
  const Place at = FindPlace(heads, heads.per_group, tiles);
  const int64_t first = at.tile * kQ, last = min(first + kQ, heads.queries);
  LoadTile<T, kQ>(call.q, at, at.r, first, last, size, q);
  LoadTile<T, kQ>(call.dout, at, at.r, first, last, size, dout);
  LoadLines<T, kQ>(call, at, at.r, first, last, along, lse);
  Clear<kQ>(dq, size);
  const int64_t end = Seen(heads, last - 1);
  for (int64_t begin = 0; begin < end; begin += kK) {
    __syncthreads();
    LoadTile<T, kK>(call.k, at, 0, begin, end, size, k);
    LoadTile<T, kK>(call.v, at, 0, begin, end, size, v);
    __syncthreads();
    WeightsAndSlopes<kQ, kK>(heads, call.scale, at.b, first, last, begin, q, dout, k, v, along, lse,
                             weights, slopes);
    __syncthreads();
    AddProduct<kQ, kK, false>(slopes, k, size, dq);
  }
  __syncthreads();
  StoreTile<T, kQ>(dq, call.dq, at, at.r, first, last, size);
}

// A block takes a tile of a group's keys, and all queries of the group that see one of them.
template <typename T, int kQ, int kK>
__global__ void __launch_bounds__(kAttentionThreads)
    AttentionKeyGradKernel(const __grid_constant__ BackwardCall call, int64_t tiles) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  extern __shared__ __align__(16) unsigned char memory[];
  const Heads& heads = call.heads;
  const int64_t size = heads.size, line = size + 1;
  A* const q = reinterpret_cast<A*>(memory);
  A* const dout = q + kQ * line;
  A* const k = dout + kQ * line;
  A* const v = k + kK * line;
  A* const dk = v + kK * line;
  A* const dv = dk + kK * line;
  A* const weights = dv + kK * line;
  A* const slopes = weights + kQ * (kK + 1);
  __shared__ A along[kQ], lse[kQ];
  Place at = FindPlace(heads, 1, tiles);
  const int64_t begin = at.tile * kK, end = min(begin + kK, heads.keys);
  LoadTile<T, kK>(call.k, at, 0, begin, end, size, k);
  LoadTile<T, kK>(call.v, at, 0, begin, end, size, v);
  Clear<kK>(dk, size);
  Clear<kK>(dv, size);
  const int64_t from = max(begin - heads.begin, int64_t{0}) / kQ * kQ;
  for (int64_t r = 0; r < heads.per_group; ++r) {
    for (int64_t first = from; first < heads.queries; first += kQ) {
      const int64_t last = min(first + kQ, heads.queries);
      __syncthreads();
      LoadTile<T, kQ>(call.q, at, r, first, last, size, q);
      LoadTile<T, kQ>(call.dout, at, r, first, last, size, dout);
      LoadLines<T, kQ>(call, at, r, first, last, along, lse);
      __syncthreads();
      WeightsAndSlopes<kQ, kK>(heads, call.scale, at.b, first, last, begin, q, dout, k, v, along,
                               lse, weights, slopes);
      __syncthreads();
      AddProduct<kK, kQ, true>(slopes, q, size, dk);
      AddProduct<kK, kQ, true>(weights, dout, size, dv);
    }
  }
  __syncthreads();
  StoreTile<T, kK>(dk, call.dk, at, 0, begin, end, size);
  StoreTile<T, kK>(dv, call.dv, at, 0, begin, end, size);
}

// `starts` are of packed sequences, or null.
Heads HeadsOf(const KernelCall& c, const DeviceView* starts) {
  const Dims& q = c.in[0].dims;
  Heads heads = {q[0].size,
                 q[2].size,
                 q[3].size,
                 q[4].size,
                 q[1].size,
                 c.in[1].dims[1].size,
                 c.op.PartOf('q').begin};
  if (starts == nullptr) return heads;
  heads.starts = static_cast<const int32_t*>(starts->data);
  heads.starts_b = starts->dims[0].stride;
  heads.starts_place = starts->dims[1].stride;
  return heads;
}

// Of so many lines of a head, and so many tiles of weights.
template <typename A, int kQ, int kK>
int64_t SharedBytes(const Heads& heads, int lines, int weights) {
  return static_cast<int64_t>(sizeof(A)) *
         (lines * (heads.size + 1) + weights * int64_t{kQ} * (kK + 1));
}

constexpr int64_t kMostSharedBytes = 200 << 10;

template <typename Call>
cudaError_t LaunchTiles(void (*kernel)(Call, int64_t), const Call& call, int64_t bytes,
                        int64_t heads, int64_t tiles, cudaStream_t stream) {
  if (bytes > kMostSharedBytes) return cudaErrorInvalidConfiguration;
  if (heads * tiles == 0) return cudaSuccess;
  return LaunchKernelWith(static_cast<size_t>(bytes), kernel, static_cast<unsigned>(heads * tiles),
                          kAttentionThreads, stream, call, tiles);
}

int64_t Tiles(int64_t size, int64_t tile) { return (size + tile - 1) / tile; }

template <typename T, int kQ, int kK>
cudaError_t Forward(const ForwardCall& call, cudaStream_t stream) {
  const Heads& heads = call.heads;
  return LaunchTiles(AttentionKernel<T, kQ, kK>, call,
                     SharedBytes<Accumulator<T>, kQ, kK>(heads, 2 * kQ + 2 * kK, 1),
                     heads.batches * heads.groups * heads.per_group, Tiles(heads.queries, kQ),
                     stream);
}

template <typename T, int kQ, int kK>
cudaError_t Backward(const BackwardCall& call, cudaStream_t stream) {
  using A = Accumulator<T>;
  const Heads& heads = call.heads;
  const int64_t groups = heads.batches * heads.groups;
  const cudaError_t error = LaunchTiles(AttentionQueryGradKernel<T, kQ, kK>, call,
                                        SharedBytes<A, kQ, kK>(heads, 3 * kQ + 2 * kK, 2),
                                        groups * heads.per_group, Tiles(heads.queries, kQ), stream);
  if (error != cudaSuccess) return error;
  return LaunchTiles(AttentionKeyGradKernel<T, kQ, kK>, call,
                     SharedBytes<A, kQ, kK>(heads, 2 * kQ + 4 * kK, 2), groups,
                     Tiles(heads.keys, kK), stream);
}

// Large heads leave room for small tiles only.
constexpr int kSide = 16, kSmallSide = 4;
template <typename A>
bool HasRoom(const Heads& heads) {
  return SharedBytes<A, kSide, kSide>(heads, 6 * kSide, 2) <= kMostSharedBytes;
}

cudaError_t Attend(const KernelCall& c, const DeviceView* starts, cudaStream_t stream) {
  if (const FusedCall fused(c, starts != nullptr); fused.taken()) return fused.Enqueue(stream);
  const ForwardCall call = {HeadsOf(c, starts),
                            Queries(c.in[0]),
                            Keys(c.in[1]),
                            Keys(c.in[2]),
                            Queries(c.out[0]),
                            Queries(c.out[1]),
                            c.op.attributes.Number("scale")};
  if (TensorCoresTake(c)) return AttentionOnTensorCores(call, stream);
  return Dispatch(c.in[0].dtype, [&](auto type) {
    using T = decltype(type);
    return HasRoom<Accumulator<T>>(call.heads) ? Forward<T, kSide, kSide>(call, stream)
                                               : Forward<T, kSmallSide, kSmallSide>(call, stream);
  });
}

cudaError_t AttendBack(const KernelCall& c, const DeviceView* starts, cudaStream_t stream) {
  if (const FusedCall fused(c, starts != nullptr); fused.taken()) return fused.Enqueue(stream);
  const BackwardCall call = {HeadsOf(c, starts),
                             Queries(c.in[0]),
                             Keys(c.in[1]),
                             Keys(c.in[2]),
                             Queries(c.in[3]),
                             Queries(c.in[4]),
                             Queries(c.in[5]),
                             Queries(c.out[0]),
                             Keys(c.out[1]),
                             Keys(c.out[2]),
                             c.op.attributes.Number("scale")};
  if (TensorCoresTake(c)) {
    return AttentionGradOnTensorCores(call, c.scratch, stream);
  }
  return Dispatch(c.in[0].dtype, [&](auto type) {
    using T = decltype(type);
    return HasRoom<Accumulator<T>>(call.heads) ? Backward<T, kSide, kSide>(call, stream)
                                               : Backward<T, kSmallSide, kSmallSide>(call, stream);
  });
}

ScratchSize ForwardScratch(const KernelCall& c) { return FusedCall(c, /*packed=*/false).scratch(); }

ScratchSize OwnGradScratch(const KernelCall& c) { return {AlongBytes(HeadsOf(c, nullptr)), 1}; }

ScratchSize GradScratch(const KernelCall& c) {
  const FusedCall fused(c, /*packed=*/false);
  return fused.taken() ? fused.scratch() : OwnGradScratch(c);
}

}  // namespace

const Kernel kAttentionKernel = {
    Action{"attention"},
    [](const KernelCall& c, cudaStream_t stream) { return Attend(c, nullptr, stream); },
    ForwardScratch};
const Kernel kPackedAttentionKernel = {
    Action{"packed_attention"},
    [](const KernelCall& c, cudaStream_t stream) { return Attend(c, &c.in[3], stream); }};
const Kernel kAttentionGradKernel = {
    Action{"attention_grad"},
    [](const KernelCall& c, cudaStream_t stream) { return AttendBack(c, nullptr, stream); },
    GradScratch};
const Kernel kPackedAttentionGradKernel = {
    Action{"packed_attention_grad"},
    [](const KernelCall& c, cudaStream_t stream) { return AttendBack(c, &c.in[6], stream); },
    OwnGradScratch};

}  // namespace tp::nccl
