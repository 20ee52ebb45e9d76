#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/launch_kernel.cuh"
#include "backends/nccl/kernels/map.cuh"
#include "backends/nccl/kernels/reduce.cuh"

namespace tp::nccl {
namespace {

constexpr int kRowGroups = kThreads / kWarp;
constexpr int64_t kRowSumBlocks = 264;  // about two for each multiprocessor of a large GPU

// How the rows of a matrix that runs along columns are cut, for SumRowsKernel.
struct RowCut {
  int64_t tiles = 0;           // of kWarp * vector columns
  int64_t chunks = 1;          // of rows
  int64_t rows_per_chunk = 0;  // the last one may be shorter
};

RowCut CutRows(int64_t rows, int64_t columns, int vector) {
  RowCut cut;
  cut.tiles = std::max<int64_t>(1, (columns + kWarp * vector - 1) / (kWarp * vector));
  const int64_t most = (rows + kRowGroups * 4 - 1) / (kRowGroups * 4);  // 4 rows a thread at least
  cut.chunks = std::clamp<int64_t>(kRowSumBlocks / cut.tiles, 1, std::max<int64_t>(most, 1));
  cut.rows_per_chunk = (rows + cut.chunks - 1) / cut.chunks;
  return cut;
}

// Each lane of a warp owns kVector columns, each warp a share of the chunk's rows; warps meet in
// shared memory, chunks in scratch. Grid: (tiles, chunks).
template <typename T, int kVector>
__global__ void __launch_bounds__(kThreads)
    SumRowsKernel(DeviceMatrix g, T* out, int64_t out_stride, RowCut cut, Scratch scratch) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  __shared__ A shared[kRowGroups][kWarp * kVector + 1];
  const int lane = threadIdx.x % kWarp;
  const int group = threadIdx.x / kWarp;
  const int64_t column = (static_cast<int64_t>(blockIdx.x) * kWarp + lane) * kVector;
  const int64_t begin = blockIdx.y * cut.rows_per_chunk;
  const int64_t end = min(begin + cut.rows_per_chunk, g.rows);
  const Lane rows{g.data, g.row_stride, g.column_stride};
  A sum[kVector] = {};
  if (column < g.columns) {
#pragma unroll 4
    for (int64_t i = begin + group; i < end; i += kRowGroups) {
      A row[kVector];
      LoadLane<T, kVector>(rows, i, column, row);
#pragma unroll
      for (int k = 0; k < kVector; ++k) sum[k] += row[k];
    }
  }
#pragma unroll
  for (int k = 0; k < kVector; ++k) shared[group][lane * kVector + k] = sum[k];
  __syncthreads();
  auto* partials = static_cast<A*>(scratch.partials);
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kWarp * kVector;
  for (int c = threadIdx.x; c < kWarp * kVector && first + c < g.columns; c += kThreads) {
    A total = 0;
    for (int i = 0; i < kRowGroups; ++i) total += shared[i][c];
    if (gridDim.y == 1) {
      out[(first + c) * out_stride] = Round<T>(total);
    } else {
      partials[blockIdx.y * g.columns + first + c] = total;
    }
  }
  if (gridDim.y == 1 || !IsLastBlock(scratch.counters + blockIdx.x, gridDim.y)) return;
  for (int c = threadIdx.x; c < kWarp * kVector && first + c < g.columns; c += kThreads) {
    A total = 0;
    for (unsigned i = 0; i < gridDim.y; ++i) total += __ldcg(&partials[i * g.columns + first + c]);
    out[(first + c) * out_stride] = Round<T>(total);
  }
}

// A few long rows: each thread has its columns to itself. The same order as above.
template <typename T, int kVector>
__global__ void __launch_bounds__(kThreads) SumFewRowsKernel(DeviceMatrix g, DeviceMatrix out) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  const Lane rows{g.data, g.row_stride, g.column_stride};
  const Lane sums{out.data, 0, out.column_stride};
  ForEachVector<kVector>(1, g.columns, [&](int64_t, int64_t column) {
    A sum[kVector] = {};
#pragma unroll 4
    for (int64_t i = 0; i < g.rows; ++i) {
      A row[kVector];
      LoadLane<T, kVector>(rows, i, column, row);
#pragma unroll
      for (int k = 0; k < kVector; ++k) sum[k] += row[k];
    }
    StoreLane<T, kVector>(sums, 0, column, sum);
  });
}

// For a matrix that runs down rows: each column is contiguous, and kPerColumn threads sum it.
template <typename T, int kVector, int kPerColumn>
__global__ void __launch_bounds__(kThreads)
    SumColumnsKernel(DeviceMatrix g, T* out, int64_t out_stride) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  constexpr int kColumns = kThreads / kPerColumn;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kColumns + threadIdx.x / kPerColumn;
  const Lane down{g.data, g.column_stride, 1};
  A sum = 0;
  if (column < g.columns) {
    for (int64_t i = threadIdx.x % kPerColumn * kVector; i < g.rows; i += kPerColumn * kVector) {
      A part[kVector];
      LoadLane<T, kVector>(down, column, i, part);
#pragma unroll
      for (int k = 0; k < kVector; ++k) sum += part[k];
    }
  }
  if (kPerColumn == kWarp) {
#pragma unroll
    for (int offset = kWarp / 2; offset > 0; offset /= 2) {
      sum += __shfl_down_sync(0xffffffffu, sum, offset);
    }
  } else {
    sum = SumOverBlock(sum);
  }
  if (column < g.columns && threadIdx.x % kPerColumn == 0) {
    out[column * out_stride] = Round<T>(sum);
  }
}

bool CanVectorise(const DeviceMatrix& g, int64_t inner, int64_t outer_stride) {
  const int64_t vector = 16 / SizeOf(g.dtype);
  return inner % vector == 0 && outer_stride % vector == 0 &&
         reinterpret_cast<uintptr_t>(g.data) % 16 == 0;
}

// Long columns take a block each, short ones a warp.
constexpr int64_t kLongColumn = 4096;

template <typename T, int kVector>
cudaError_t LaunchSumColumns(const DeviceMatrix& g, T* out, int64_t out_stride,
                             cudaStream_t stream) {
  if (g.rows >= kLongColumn) {
    return LaunchKernel(SumColumnsKernel<T, kVector, kThreads>, static_cast<unsigned>(g.columns),
                        kThreads, stream, g, out, out_stride);
  }
  const auto blocks = static_cast<unsigned>((g.columns + kRowGroups - 1) / kRowGroups);
  return LaunchKernel(SumColumnsKernel<T, kVector, kWarp>, blocks, kThreads, stream, g, out,
                      out_stride);
}

template <typename T, int kVector>
cudaError_t LaunchSumRows(const DeviceMatrix& g, T* out, int64_t out_stride, const Scratch& scratch,
                          cudaStream_t stream) {
  const RowCut cut = CutRows(g.rows, g.columns, kVector);
  const dim3 blocks(static_cast<unsigned>(cut.tiles), static_cast<unsigned>(cut.chunks));
  return LaunchKernel(SumRowsKernel<T, kVector>, blocks, kThreads, stream, g, out, out_stride, cut,
                      scratch);
}

bool RowsVectorise(const DeviceMatrix& g) {
  return g.column_stride == 1 && CanVectorise(g, g.columns, g.row_stride);
}

// Whether there are enough columns for all threads, and of rows only what the warps of a block
// would have one each of.
bool IsFewRows(const DeviceMatrix& g) {
  return g.rows <= kRowGroups && g.columns >= kRowSumBlocks * kThreads * 8;
}

template <typename T>
cudaError_t LaunchSumFewRows(const DeviceMatrix& g, const DeviceMatrix& out, cudaStream_t stream) {
  constexpr int kVector = 16 / sizeof(T);
  const bool packs =
      RowsVectorise(g) && out.column_stride == 1 && reinterpret_cast<uintptr_t>(out.data) % 16 == 0;
  if (packs) {
    return LaunchKernel(SumFewRowsKernel<T, kVector>, BlocksFor(g.columns / kVector, kMostBlocks),
                        kThreads, stream, g, out);
  }
  return LaunchKernel(SumFewRowsKernel<T, 1>, BlocksFor(g.columns, kMostBlocks), kThreads, stream,
                      g, out);
}

}  // namespace

ScratchSize SumRowsScratch(const DeviceMatrix& g) {
  if (RunsDownRows(g)) return {};
  const int64_t width = SizeOf(g.dtype);
  const RowCut cut =
      CutRows(g.rows, g.columns, RowsVectorise(g) ? static_cast<int>(16 / width) : 1);
  if (cut.chunks == 1) return {};
  return {cut.chunks * g.columns * SizeOf(AccumulatorOf(g.dtype)), cut.tiles};
}

cudaError_t SumRows(const DeviceMatrix& g, const DeviceMatrix& out, const Scratch& scratch,
                    cudaStream_t stream) {
  if (out.empty()) return cudaSuccess;
  return Dispatch(g.dtype, [&](auto type) {
    using T = decltype(type);
    constexpr int kVector = 16 / sizeof(T);
    auto* to = static_cast<T*>(out.data);
    if (RunsDownRows(g)) {
      return CanVectorise(g, g.rows, g.column_stride)
                 ? LaunchSumColumns<T, kVector>(g, to, out.column_stride, stream)
                 : LaunchSumColumns<T, 1>(g, to, out.column_stride, stream);
    }
    if (IsFewRows(g)) return LaunchSumFewRows<T>(g, out, stream);
    return RowsVectorise(g) ? LaunchSumRows<T, kVector>(g, to, out.column_stride, scratch, stream)
                            : LaunchSumRows<T, 1>(g, to, out.column_stride, scratch, stream);
  });
}

const Kernel kSumRowsKernel = {
    Action::kSumRows,
    [](const KernelCall& c, cudaStream_t stream) {
      return SumRows(c.in[0].matrix(), c.out[0].matrix(), c.scratch, stream);
    },
    [](const KernelCall& c) { return SumRowsScratch(c.in[0].matrix()); }, OfMatrices::kEverywhere};

}  // namespace tp::nccl
