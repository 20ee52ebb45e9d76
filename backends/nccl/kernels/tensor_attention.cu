// Attention on tensor cores, for bf16 and heads of 64 or 128 elements, as attention.cu has it. A
// warp has 16 lines of each product. Weights and slopes, which are fp32, are rounded to bf16 where
// they are multiplied; the sum of weights is of those that are not.
#include "backends/nccl/kernels/attention.cuh"
#include "backends/nccl/kernels/functions.cuh"
#include "backends/nccl/kernels/mma.cuh"
#include "backends/nccl/kernels/rows.cuh"

namespace tp::nccl {
namespace {

constexpr int kWarps = 4;
constexpr int kBlockThreads = kWarps * kWarp;
constexpr int kOwn = kWarps * 16;  // lines that a block works out
constexpr int kOther = 32;         // lines at a time that its gradients go through

template <typename T, int kD, int kLines>
__device__ inline void FetchTile(const Operand& x, const Place& at, int64_t r, int64_t first,
                                 int64_t last, T* tile) {
  constexpr int kChunks = kD / 8;
#pragma unroll
  for (int i = threadIdx.x; i < kLines * kChunks; i += kBlockThreads) {
    const int line = i / kChunks, chunk = i % kChunks;
    const bool there = first + line < last;
    const T* from = At<const T>(x, at.b, there ? first + line : 0, at.g, r) + chunk * 8;
    CopyChunk(ChunkAt<kD>(tile, line, chunk), from, there);
  }
}

// A warp's 16 lines of kD elements, from `line` of x on.
template <typename T, int kD>
__device__ inline void StoreLines(const float (&c)[kD / 8][4], const Operand& x, const Place& at,
                                  int64_t r, int64_t line, int64_t last) {
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t row = line + lane / 4 + half * 8;
    if (row >= last) continue;
    T* to = At<T>(x, at.b, row, at.g, r) + lane % 4 * 2;
#pragma unroll
    for (int n = 0; n < kD / 8; ++n) {
      *reinterpret_cast<uint32_t*>(to + n * 8) = PackTwo<T>(c[n][2 * half], c[n][2 * half + 1]);
    }
  }
}

template <typename Join>
__device__ inline float OverQuad(float value, const Join& join) {
  value = join(value, __shfl_xor_sync(0xffffffffu, value, 1));
  return join(value, __shfl_xor_sync(0xffffffffu, value, 2));
}

// A thread's two lines of a softmax that is taken online.
struct Online {
  float greatest[2] = {-INFINITY, -INFINITY};
  float sum[2] = {};  // of this thread's columns

  // Scores become weights; `fade` is what comes before them is multiplied by.
  template <int kBlocks>
  __device__ void Take(float (&scores)[kBlocks][4], float (&fade)[2]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float now = greatest[half];
#pragma unroll
      for (int n = 0; n < kBlocks; ++n) {
        now = fmaxf(now, fmaxf(scores[n][2 * half], scores[n][2 * half + 1]));
      }
      now = OverQuad(now, [](float a, float b) { return fmaxf(a, b); });
      const float shift = now == -INFINITY ? 0.0f : now;
      fade[half] = Exp(greatest[half] - shift);
      greatest[half] = now;
      sum[half] *= fade[half];
#pragma unroll
      for (int n = 0; n < kBlocks; ++n) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          float& weight = scores[n][2 * half + e];
          weight = Exp(weight - shift);
          sum[half] += weight;
        }
      }
    }
  }
};

// scores *= scale; -infinity where the line's query does not see the column's key.
template <int kBlocks>
__device__ inline void ScaleAndMask(const Heads& heads, float scale, int64_t b, int64_t row,
                                    int64_t last, int64_t begin, float (&scores)[kBlocks][4]) {
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t query = row + lane / 4 + half * 8;
    const int64_t seen = query < last ? Seen(heads, query) - begin : 0;
    const int64_t from = query < last ? FirstSeen(heads, b, query) - begin : 0;
#pragma unroll
    for (int n = 0; n < kBlocks; ++n) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        float& score = scores[n][2 * half + e];
        const int64_t key = n * 8 + lane % 4 * 2 + e;
        score = key >= from && key < seen ? score * scale : -INFINITY;
      }
    }
  }
}

// While weights are worked out, the next keys are on their way; while scores are, the values.
template <typename T, int kD>
__global__ void __launch_bounds__(kBlockThreads)
    ForwardKernel(const __grid_constant__ ForwardCall call, int64_t tiles) {
  AwaitEarlierKernels();
  extern __shared__ __align__(16) unsigned char memory[];
  const Heads& heads = call.heads;
  T* const q = reinterpret_cast<T*>(memory);
  T* const k = q + kOwn * kD;
  T* const v = k + kOwn * kD;
  const Place at = FindPlace(heads, heads.per_group, tiles);
  const int64_t first = at.tile * kOwn, last = min(first + kOwn, heads.queries);
  const int line = threadIdx.x / kWarp * 16;
  const int64_t end = Seen(heads, last - 1);
  const auto scale = static_cast<float>(call.scale);
  float out[kD / 8][4] = {};
  Online online;
  FetchTile<T, kD, kOwn>(call.q, at, at.r, first, last, q);
  FetchTile<T, kD, kOwn>(call.k, at, 0, 0, end, k);
  EndGroup();
  for (int64_t begin = 0; begin < end; begin += kOwn) {
    AwaitGroups<0>();
    __syncthreads();
    FetchTile<T, kD, kOwn>(call.v, at, 0, begin, end, v);
    EndGroup();
    float scores[kOwn / 8][4] = {};
    MultiplyTurned<T, kD, kOwn>(q, line, k, scores);
    __syncthreads();
    if (begin + kOwn < end) FetchTile<T, kD, kOwn>(call.k, at, 0, begin + kOwn, end, k);
    EndGroup();
    ScaleAndMask(heads, scale, at.b, first + line, last, begin, scores);
    float fade[2];
    online.Take(scores, fade);
#pragma unroll
    for (int n = 0; n < kD / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) out[n][e] *= fade[e / 2];
    }
    AwaitGroups<1>();
    __syncthreads();
    MultiplyWeights<T, kD, kOwn>(scores, v, out);
  }
  AwaitGroups<0>();
  const int lane = threadIdx.x % kWarp;
  float total[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    total[half] = OverQuad(online.sum[half], Plus{});
    const int64_t row = first + line + lane / 4 + half * 8;
    if (lane % 4 == 0 && row < last) {
      *At<float>(call.lse, at.b, row, at.g, at.r) =
          total[half] == 0 ? 0.0f : Log(total[half]) + online.greatest[half];
    }
  }
#pragma unroll
  for (int n = 0; n < kD / 8; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) out[n][e] = total[e / 2] == 0 ? 0.0f : out[n][e] / total[e / 2];
  }
  StoreLines<T, kD>(out, call.o, at, at.r, first + line, last);
}

// do . o of each query, at its number in [b, g, r, q]. A warp a query.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    AlongKernel(const __grid_constant__ BackwardCall call, float* along) {
  AwaitEarlierKernels();
  const Heads& heads = call.heads;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  const int64_t head = i / heads.queries, query = i % heads.queries;
  const int64_t group = head / heads.per_group;
  if (group >= heads.batches * heads.groups) return;
  const int64_t b = group / heads.groups, g = group % heads.groups, r = head % heads.per_group;
  const T* o = At<const T>(call.o, b, query, g, r);
  const T* dout = At<const T>(call.dout, b, query, g, r);
  float sum = 0;
  for (int64_t d = threadIdx.x % kWarp; d < heads.size; d += kWarp) {
    sum += Widen(dout[d * call.dout.d]) * Widen(o[d * call.o.d]);
  }
  sum = OverRow<kWarp>(sum, Plus{});
  if (threadIdx.x % kWarp == 0) along[i] = sum;
}

__device__ inline int64_t NumberOf(const Heads& heads, const Place& at, int64_t r, int64_t query) {
  return ((at.b * heads.groups + at.g) * heads.per_group + r) * heads.queries + query;
}

// Of kOther queries: the logarithms of their sums, and do . o.
struct Lines {
  float lse[kOther], along[kOther];
};

// A block takes kOwn queries, and kOther keys at a time, the next ones being on their way.
template <typename T, int kD>
__global__ void __launch_bounds__(kBlockThreads)
    QueryGradKernel(const __grid_constant__ BackwardCall call, const float* along, int64_t tiles) {
  AwaitEarlierKernels();
  extern __shared__ __align__(16) unsigned char memory[];
  const Heads& heads = call.heads;
  T* const q = reinterpret_cast<T*>(memory);
  T* const dout = q + kOwn * kD;
  T* const k = dout + kOwn * kD;     // two tiles
  T* const v = k + 2 * kOther * kD;  // likewise
  const Place at = FindPlace(heads, heads.per_group, tiles);
  const int64_t first = at.tile * kOwn, last = min(first + kOwn, heads.queries);
  const int line = threadIdx.x / kWarp * 16, lane = threadIdx.x % kWarp;
  const int64_t end = Seen(heads, last - 1);
  const auto scale = static_cast<float>(call.scale);
  const auto fetch = [&](int64_t begin, int buffer) {
    FetchTile<T, kD, kOther>(call.k, at, 0, begin, end, k + buffer * kOther * kD);
    FetchTile<T, kD, kOther>(call.v, at, 0, begin, end, v + buffer * kOther * kD);
    EndGroup();
  };
  FetchTile<T, kD, kOwn>(call.q, at, at.r, first, last, q);
  FetchTile<T, kD, kOwn>(call.dout, at, at.r, first, last, dout);
  if (end > 0) fetch(0, 0);
  float lse[2] = {}, of_do[2] = {};
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t row = first + line + lane / 4 + half * 8;
    if (row >= last) continue;
    lse[half] = *At<const float>(call.lse, at.b, row, at.g, at.r);
    of_do[half] = along[NumberOf(heads, at, at.r, row)];
  }
  float dq[kD / 8][4] = {};
  int buffer = 0;
  for (int64_t begin = 0; begin < end; begin += kOther, buffer ^= 1) {
    AwaitGroups<0>();
    __syncthreads();
    if (begin + kOther < end) fetch(begin + kOther, buffer ^ 1);
    const T* const keys = k + buffer * kOther * kD;
    float scores[kOther / 8][4] = {}, slopes[kOther / 8][4] = {};
    MultiplyTurned<T, kD, kOther>(q, line, keys, scores);
    MultiplyTurned<T, kD, kOther>(dout, line, v + buffer * kOther * kD, slopes);
    ScaleAndMask(heads, scale, at.b, first + line, last, begin, scores);
#pragma unroll
    for (int n = 0; n < kOther / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float weight = Exp(scores[n][e] - lse[e / 2]);
        slopes[n][e] = weight * (slopes[n][e] - of_do[e / 2]) * scale;
      }
    }
    MultiplyWeights<T, kD, kOther>(slopes, keys, dq);
  }
  AwaitGroups<0>();
  StoreLines<T, kD>(dq, call.dq, at, at.r, first + line, last);
}

// A block takes kOwn keys of a group, and kOther queries at a time, of one head after the other.
template <typename T, int kD>
__global__ void __launch_bounds__(kBlockThreads)
    KeyGradKernel(const __grid_constant__ BackwardCall call, const float* along, int64_t tiles) {
  AwaitEarlierKernels();
  extern __shared__ __align__(16) unsigned char memory[];
  __shared__ Lines lines[2];
  const Heads& heads = call.heads;
  T* const k = reinterpret_cast<T*>(memory);
  T* const v = k + kOwn * kD;
  T* const q = v + kOwn * kD;           // two tiles
  T* const dout = q + 2 * kOther * kD;  // likewise
  Place at = FindPlace(heads, 1, tiles);
  at.tile = tiles - 1 - at.tile;  // those that the most queries see first
  const int64_t begin = at.tile * kOwn, end = min(begin + kOwn, heads.keys);
  const int line = threadIdx.x / kWarp * 16, lane = threadIdx.x % kWarp;
  const auto scale = static_cast<float>(call.scale);
  const int64_t from = max(begin - heads.begin, int64_t{0}) / kOther * kOther;
  const int64_t of_head = max((heads.queries - from + kOther - 1) / kOther, int64_t{0});
  const int64_t steps = of_head * heads.per_group;
  const auto fetch = [&](int64_t step, int buffer) {
    const int64_t r = step / of_head, first = from + step % of_head * kOther;
    FetchTile<T, kD, kOther>(call.q, at, r, first, heads.queries, q + buffer * kOther * kD);
    FetchTile<T, kD, kOther>(call.dout, at, r, first, heads.queries, dout + buffer * kOther * kD);
    EndGroup();
    if (threadIdx.x >= kOther) return;
    const int64_t query = first + threadIdx.x;
    const bool there = query < heads.queries;
    lines[buffer].lse[threadIdx.x] =
        there ? *At<const float>(call.lse, at.b, query, at.g, r) : 0.0f;
    lines[buffer].along[threadIdx.x] = there ? along[NumberOf(heads, at, r, query)] : 0.0f;
  };
  FetchTile<T, kD, kOwn>(call.k, at, 0, begin, end, k);
  FetchTile<T, kD, kOwn>(call.v, at, 0, begin, end, v);
  if (steps > 0) fetch(0, 0);
  float dk[kD / 8][4] = {}, dv[kD / 8][4] = {};
  int buffer = 0;
  for (int64_t step = 0; step < steps; ++step, buffer ^= 1) {
    AwaitGroups<0>();
    __syncthreads();
    if (step + 1 < steps) fetch(step + 1, buffer ^ 1);
    const int64_t first = from + step % of_head * kOther;
    const T* const queries = q + buffer * kOther * kD;
    const T* const douts = dout + buffer * kOther * kD;
    float weights[kOther / 8][4] = {}, slopes[kOther / 8][4] = {};
    MultiplyTurned<T, kD, kOther>(k, line, queries, weights);
    MultiplyTurned<T, kD, kOther>(v, line, douts, slopes);
#pragma unroll
    for (int n = 0; n < kOther / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int column = n * 8 + lane % 4 * 2 + e % 2;
        const int64_t query = first + column, key = begin + line + lane / 4 + e / 2 * 8;
        const bool seen = Sees(heads, at.b, query, key);
        const float weight = seen ? Exp(weights[n][e] * scale - lines[buffer].lse[column]) : 0.0f;
        weights[n][e] = weight;
        slopes[n][e] = weight * (slopes[n][e] - lines[buffer].along[column]) * scale;
      }
    }
    MultiplyWeights<T, kD, kOther>(weights, douts, dv);
    MultiplyWeights<T, kD, kOther>(slopes, queries, dk);
  }
  AwaitGroups<0>();
  StoreLines<T, kD>(dk, call.dk, at, 0, begin + line, end);
  StoreLines<T, kD>(dv, call.dv, at, 0, begin + line, end);
}

template <typename... Parameters>
cudaError_t LaunchBlocks(void (*kernel)(Parameters...), int64_t bytes, int64_t blocks,
                         cudaStream_t stream, std::type_identity_t<Parameters>... arguments) {
  if (blocks == 0) return cudaSuccess;
  return LaunchKernelWith(static_cast<size_t>(bytes), kernel, static_cast<unsigned>(blocks),
                          kBlockThreads, stream, arguments...);
}

int64_t Tiles(int64_t size) { return (size + kOwn - 1) / kOwn; }

template <typename T, int kD>
cudaError_t Forward(const ForwardCall& call, cudaStream_t stream) {
  const Heads& heads = call.heads;
  const int64_t tiles = Tiles(heads.queries);
  return LaunchBlocks(ForwardKernel<T, kD>, 3 * kOwn * kD * 2,
                      tiles * heads.batches * heads.groups * heads.per_group, stream, call, tiles);
}

template <typename T, int kD>
cudaError_t Backward(const BackwardCall& call, float* along, cudaStream_t stream) {
  const Heads& heads = call.heads;
  const int64_t groups = heads.batches * heads.groups;
  const int64_t of_heads = groups * heads.per_group;
  const int64_t rows = (of_heads * heads.queries + kWarps - 1) / kWarps;
  constexpr int64_t kBytes = (2 * kOwn + 4 * kOther) * kD * 2;
  cudaError_t error = LaunchBlocks(AlongKernel<T>, 0, rows, stream, call, along);
  if (error != cudaSuccess) return error;
  const int64_t tiles = Tiles(heads.queries), key_tiles = Tiles(heads.keys);
  error =
      LaunchBlocks(QueryGradKernel<T, kD>, kBytes, tiles * of_heads, stream, call, along, tiles);
  if (error != cudaSuccess) return error;
  return LaunchBlocks(KeyGradKernel<T, kD>, kBytes, key_tiles * groups, stream, call, along,
                      key_tiles);
}

// Calls f(head's size as a Constant).
template <typename F>
cudaError_t DispatchHead(int64_t size, const F& f) {
  return size == 64 ? f(Constant<64>{}) : f(Constant<128>{});
}

bool IsEven(const DeviceView& x) {
  if (x.Last().stride != 1 || reinterpret_cast<uintptr_t>(x.data) % 16 != 0) return false;
  return std::all_of(x.dims.begin(), x.dims.end() - 1,
                     [](const Dim& dim) { return dim.size == 1 || dim.stride % 8 == 0; });
}

}  // namespace

bool TensorCoresTake(const KernelCall& c) {
  const int64_t size = c.in[0].Last().size;
  if (c.in[0].dtype != DType::kBFloat16 || (size != 64 && size != 128)) return false;
  const auto even = [&](const DeviceView& x) { return x.dtype != c.in[0].dtype || IsEven(x); };
  return std::all_of(c.in.begin(), c.in.end(), even) &&
         std::all_of(c.out.begin(), c.out.end(), even);
}

cudaError_t AttentionOnTensorCores(const ForwardCall& call, cudaStream_t stream) {
  return DispatchHead(call.heads.size,
                      [&](auto size) { return Forward<__nv_bfloat16, size.value>(call, stream); });
}

cudaError_t AttentionGradOnTensorCores(const BackwardCall& call, const Scratch& scratch,
                                       cudaStream_t stream) {
  return DispatchHead(call.heads.size, [&](auto size) {
    return Backward<__nv_bfloat16, size.value>(call, static_cast<float*>(scratch.partials), stream);
  });
}

}  // namespace tp::nccl
