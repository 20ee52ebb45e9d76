#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/rows.cuh"

namespace tp::nccl {
namespace {

struct Table {
  const void* data;
  int64_t rows, row_stride, stride;
  int64_t begin;  // the id of its first row
};

// Lanes: ids, the rows that they stand for.
template <typename T, int kVector, int kPerRow>
__global__ void __launch_bounds__(kThreads)
    EmbeddingKernel(const __grid_constant__ Rows<2> rows, Table table) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  ForEachRow<kPerRow>(rows.places.count, [&](int64_t i, int thread) {
    int64_t at[2];
    rows.places.Find(i, at);
    const int64_t row = static_cast<const int32_t*>(rows.data[0])[at[0]] - table.begin;
    const bool here = row >= 0 && row < table.rows;
    const T* from = static_cast<const T*>(table.data) + (here ? row : 0) * table.row_stride;
    T* to = static_cast<T*>(rows.data[1]) + at[1];
    for (int64_t j = thread * kVector; j < rows.length; j += kPerRow * kVector) {
      A part[kVector] = {};
      if (here) LoadVector<T, kVector>(from + j * table.stride, table.stride, part);
      StoreVector<T, kVector>(to + j * rows.strides[1], part);
    }
  });
}

struct Nought {
  template <typename A>
  __device__ void operator()(const A (&)[1], A (&y)[1]) const {
    y[0] = 0;
  }
};

// By id: the number of the last one like it, or -1 where an earlier one is like it. Four threads an
// id, each of which compares it with every fourth.
constexpr int kSplit = 4;
__global__ void __launch_bounds__(kThreads)
    LastAlikeKernel(const __grid_constant__ Rows<2> rows, int32_t* last_alike) {
  AwaitEarlierKernels();
  __shared__ int32_t ids[kThreads];
  const int64_t count = rows.places.count;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * (kThreads / kSplit) + threadIdx.x / kSplit;
  const auto id_of = [&](int64_t number) {
    int64_t at[2];
    rows.places.Find(number, at);
    return static_cast<const int32_t*>(rows.data[0])[at[0]];
  };
  const int32_t mine = i < count ? id_of(i) : 0;
  bool earlier = false;
  auto last = static_cast<int32_t>(i);
  for (int64_t begin = 0; begin < count; begin += kThreads) {
    const auto here = static_cast<int>(min(count - begin, int64_t{kThreads}));
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < here) ids[threadIdx.x] = id_of(begin + threadIdx.x);
    __syncthreads();
#pragma unroll 8
    for (int k = threadIdx.x % kSplit; k < here; k += kSplit) {
      const bool alike = ids[k] == mine;
      earlier |= alike && begin + k < i;
      last = alike ? max(last, static_cast<int32_t>(begin + k)) : last;
    }
  }
#pragma unroll
  for (int offset = kSplit / 2; offset > 0; offset /= 2) {
    earlier |= __shfl_xor_sync(0xffffffffu, earlier, offset) != 0;
    last = max(last, __shfl_xor_sync(0xffffffffu, last, offset));
  }
  if (i < count && threadIdx.x % kSplit == 0) last_alike[i] = earlier ? -1 : last;
}

// A block takes an id and some of the columns. If the id is the first of its row, it adds up the
// lines of dy of all ids of that row, in order: no list, no sorting, and no atomics. Lanes: ids,
// dy.
template <typename T, int kVector>
__global__ void __launch_bounds__(kThreads)
    EmbeddingGradKernel(const __grid_constant__ Rows<2> rows, Table table,
                        const int32_t* last_alike) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  constexpr int kAhead = 8;  // lines on their way at a time
  __shared__ unsigned found[kThreads / kWarp];
  __shared__ uint8_t alike[kThreads];
  const int64_t first = blockIdx.x, end = int64_t{last_alike[first]} + 1;
  if (end == 0) return;
  int64_t at[2];
  const auto id_of = [&](int64_t i) {
    rows.places.Find(i, at);
    return static_cast<const int32_t*>(rows.data[0])[at[0]];
  };
  const int32_t id = id_of(first);
  const int64_t row = id - table.begin;
  if (row < 0 || row >= table.rows) return;
  const int64_t column = (static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x) * kVector;
  A sum[kVector] = {};
  for (int64_t begin = first; begin < end; begin += kThreads) {
    const int64_t mine = begin + threadIdx.x;
    const bool is_alike = mine < end && id_of(mine) == id;
    const unsigned same = __ballot_sync(0xffffffffu, is_alike);
    const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
    if (lane == 0) found[warp] = same;
    __syncthreads();
    int before = __popc(same & ((1u << lane) - 1)), all = 0;
    for (int w = 0; w < kThreads / kWarp; ++w) {
      if (w < warp) before += __popc(found[w]);
      all += __popc(found[w]);
    }
    if (is_alike) alike[before] = static_cast<uint8_t>(threadIdx.x);
    __syncthreads();
    for (int done = 0; done < all && column < rows.length; done += kAhead) {
      Pack<T, kVector> lines[kAhead];
#pragma unroll
      for (int a = 0; a < kAhead; ++a) {
        if (done + a >= all) continue;
        rows.places.Find(begin + alike[done + a], at);
        lines[a] = LoadPack<T, kVector>(static_cast<const T*>(rows.data[1]) + at[1] +
                                        column * rows.strides[1]);
      }
#pragma unroll
      for (int a = 0; a < kAhead; ++a) {
        if (done + a >= all) continue;
#pragma unroll
        for (int k = 0; k < kVector; ++k) sum[k] += Widen(lines[a].at[k]);
      }
    }
    __syncthreads();
  }
  if (column >= rows.length) return;
  T* to = static_cast<T*>(const_cast<void*>(table.data)) + row * table.row_stride;
  StoreVector<T, kVector>(to + column * table.stride, sum);
}

Table TableOf(const KernelCall& c, const DeviceView& view) {
  return {view.data, view.dims[0].size, view.dims[0].stride, view.dims[1].stride,
          c.op.PartOf('v').begin};
}

bool TableIsEven(const DeviceView& view) {
  Places<1> rows;
  rows.PushBack(view.dims[0].size, {view.dims[0].stride});
  return LinesAreEven(rows, 0, view, view.dims[1].stride, view.dims[1].size);
}

cudaError_t Embedding(const KernelCall& c, cudaStream_t stream) {
  Rows<2> rows = MakeRows<2>({RowView{c.in[0], false}, {c.out[0]}});
  rows.even = rows.even && TableIsEven(c.in[1]);
  return Dispatch(c.out[0].dtype, [&](auto type) {
    using T = decltype(type);
    return DispatchRows<T>(rows, [&](auto per_row, auto vector, unsigned blocks) {
      return LaunchKernel(EmbeddingKernel<T, vector.value, per_row.value>, blocks, kThreads, stream,
                          rows, TableOf(c, c.in[1]));
    });
  });
}

template <typename T, int kVector>
cudaError_t LaunchGrad(const Rows<2>& rows, const Table& table, int32_t* last_alike,
                       cudaStream_t stream) {
  constexpr int64_t kColumns = kThreads * kVector;
  const dim3 blocks(static_cast<unsigned>(rows.count()),
                    static_cast<unsigned>((rows.length + kColumns - 1) / kColumns));
  constexpr int64_t kIds = kThreads / kSplit;
  const cudaError_t error =
      LaunchKernel(LastAlikeKernel, static_cast<unsigned>((rows.count() + kIds - 1) / kIds),
                   kThreads, stream, rows, last_alike);
  if (error != cudaSuccess) return error;
  return LaunchKernel(EmbeddingGradKernel<T, kVector>, blocks, kThreads, stream, rows, table,
                      last_alike);
}

cudaError_t EmbeddingGrad(const KernelCall& c, cudaStream_t stream) {
  if (c.out[0].empty()) return cudaSuccess;
  const Rows<2> rows = MakeRows<2>({RowView{c.in[0], false}, {c.in[1]}});
  return Dispatch(c.out[0].dtype, [&](auto type) {
    using T = decltype(type);
    const cudaError_t error = LaunchWalk<1, 1, T>({c.out[0], c.out[0]}, stream, Nought{});
    if (error != cudaSuccess || rows.count() == 0) return error;
    const Table table = TableOf(c, c.out[0]);
    auto* last_alike = static_cast<int32_t*>(c.scratch.partials);
    return rows.even && TableIsEven(c.out[0])
               ? LaunchGrad<T, 16 / sizeof(T)>(rows, table, last_alike, stream)
               : LaunchGrad<T, 1>(rows, table, last_alike, stream);
  });
}

}  // namespace

const Kernel kEmbeddingKernel = {Action{"embedding"}, Embedding};
const Kernel kEmbeddingGradKernel = {
    Action{"embedding_grad"}, EmbeddingGrad, [](const KernelCall& c) {
      return ScratchSize{std::max<int64_t>(c.in[0].size(), 1) * int64_t{sizeof(int32_t)}, 0};
    }};

}  // namespace tp::nccl
