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

// A block takes an id and some of the columns. If the id is the first of its row, it adds up the
// lines of dy of all ids of that row, in order: no list, no sorting, and no atomics. Lanes: ids,
// dy.
template <typename T, int kVector>
__global__ void __launch_bounds__(kThreads)
    EmbeddingGradKernel(const __grid_constant__ Rows<2> rows, Table table) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  __shared__ unsigned found[kThreads / kWarp];
  const int64_t count = rows.places.count, first = blockIdx.x;
  int64_t at[2];
  const auto id_of = [&](int64_t i) {
    rows.places.Find(i, at);
    return static_cast<const int32_t*>(rows.data[0])[at[0]];
  };
  const int32_t id = id_of(first);
  const int64_t row = id - table.begin;
  if (row < 0 || row >= table.rows) return;
  bool earlier = false;
  for (int64_t i = threadIdx.x; i < first && !earlier; i += kThreads) earlier = id_of(i) == id;
  if (__syncthreads_or(earlier)) return;
  const int64_t column = (static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x) * kVector;
  A sum[kVector] = {};
  for (int64_t begin = first; begin < count; begin += kThreads) {
    const int64_t mine = begin + threadIdx.x;
    const unsigned same = __ballot_sync(0xffffffffu, mine < count && id_of(mine) == id);
    if (threadIdx.x % kWarp == 0) found[threadIdx.x / kWarp] = same;
    __syncthreads();
    for (int warp = 0; warp < kThreads / kWarp; ++warp) {
      for (unsigned left = found[warp]; left != 0; left &= left - 1) {
        if (column >= rows.length) continue;
        rows.places.Find(begin + warp * kWarp + __ffs(left) - 1, at);
        A part[kVector];
        LoadVector<T, kVector>(
            static_cast<const T*>(rows.data[1]) + at[1] + column * rows.strides[1], rows.strides[1],
            part);
#pragma unroll
        for (int k = 0; k < kVector; ++k) sum[k] += part[k];
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
cudaError_t LaunchGrad(const Rows<2>& rows, const Table& table, cudaStream_t stream) {
  constexpr int64_t kColumns = kThreads * kVector;
  const dim3 blocks(static_cast<unsigned>(rows.count()),
                    static_cast<unsigned>((rows.length + kColumns - 1) / kColumns));
  return LaunchKernel(EmbeddingGradKernel<T, kVector>, blocks, kThreads, stream, rows, table);
}

cudaError_t EmbeddingGrad(const KernelCall& c, cudaStream_t stream) {
  if (c.out[0].empty()) return cudaSuccess;
  const Rows<2> rows = MakeRows<2>({RowView{c.in[0], false}, {c.in[1]}});
  return Dispatch(c.out[0].dtype, [&](auto type) {
    using T = decltype(type);
    const cudaError_t error = LaunchWalk<1, 1, T>({c.out[0], c.out[0]}, stream, Nought{});
    if (error != cudaSuccess || rows.count() == 0) return error;
    const Table table = TableOf(c, c.out[0]);
    return rows.even && TableIsEven(c.out[0]) ? LaunchGrad<T, 16 / sizeof(T)>(rows, table, stream)
                                              : LaunchGrad<T, 1>(rows, table, stream);
  });
}

}  // namespace

const Kernel kEmbeddingKernel = {Action{"embedding"}, Embedding};
const Kernel kEmbeddingGradKernel = {Action{"embedding_grad"}, EmbeddingGrad};

}  // namespace tp::nccl
