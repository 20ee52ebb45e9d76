#include "backends/nccl/element.cuh"
#include "backends/nccl/kernels.h"
#include "backends/nccl/launch_kernel.cuh"

namespace tp::nccl {
namespace {

constexpr int kWarp = 32;
constexpr int kMostLossBlocks = 1024;
constexpr int kRowGroups = kThreads / kWarp;
constexpr int64_t kRowSumBlocks = 264;  // about two for each multiprocessor of a large GPU

// The sum over the block, in a fixed tree; valid in thread 0.
template <typename A>
__device__ A SumOverBlock(A value) {
  __shared__ A of_warp[kThreads / kWarp];
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    value += __shfl_down_sync(0xffffffffu, value, offset);
  }
  if (threadIdx.x % kWarp == 0) of_warp[threadIdx.x / kWarp] = value;
  __syncthreads();
  A sum = 0;
  if (threadIdx.x == 0) {
    for (int i = 0; i < kThreads / kWarp; ++i) sum += of_warp[i];
  }
  __syncthreads();
  return sum;
}

// Whether this block is the last of `blocks` to come here, all of whose writes it then sees. The
// count says only who finishes; the order of the sum does not depend on it.
__device__ bool IsLastBlock(unsigned* counter, unsigned blocks) {
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    last = atomicAdd(counter, 1u) == blocks - 1;
    if (last) *counter = 0;
  }
  __syncthreads();
  __threadfence();
  return last;
}

struct LossOutput {
  void* loss;
  bool is_double;
  double scale;
};

__device__ void StoreLoss(const LossOutput& output, double sum) {
  if (output.is_double) {
    *static_cast<double*>(output.loss) = output.scale * sum;
  } else {
    *static_cast<float*>(output.loss) = static_cast<float>(output.scale * sum);
  }
}

template <typename T, int kVector, bool kGrad>
__global__ void __launch_bounds__(kThreads)
    MseLossKernel(Grid grid, LossOutput output, Scratch scratch) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  const double factor = 2 * output.scale;
  double sum = 0;
  ForEachVector<kVector>(grid.outer, grid.inner, [&](int64_t outer, int64_t inner) {
    A y[kVector], t[kVector];
    LoadLane<T, kVector>(grid.lanes[0], outer, inner, y);
    LoadLane<T, kVector>(grid.lanes[1], outer, inner, t);
#pragma unroll
    for (int k = 0; k < kVector; ++k) {
      const double error = static_cast<double>(y[k]) - static_cast<double>(t[k]);
      sum += error * error;
      y[k] = static_cast<A>(factor * error);
    }
    if (kGrad) StoreLane<T, kVector>(grid.lanes[2], outer, inner, y);
  });
  auto* partials = static_cast<double*>(scratch.partials);
  sum = SumOverBlock(sum);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
  if (!IsLastBlock(scratch.counters, gridDim.x)) return;
  double total = 0;
  for (unsigned i = threadIdx.x; i < gridDim.x; i += kThreads) total += __ldcg(&partials[i]);
  total = SumOverBlock(total);
  if (threadIdx.x == 0) StoreLoss(output, total);
}

template <typename T, bool kGrad>
cudaError_t LaunchMseLoss(const Grid& grid, const LossOutput& output, const Scratch& scratch,
                          cudaStream_t stream) {
  constexpr int kVector = 16 / sizeof(T);
  const int64_t elements = grid.outer * grid.inner;
  if (grid.vectorised) {
    const unsigned blocks = BlocksFor(elements / kVector, kMostLossBlocks);
    return LaunchKernel(MseLossKernel<T, kVector, kGrad>, blocks, kThreads, stream, grid, output,
                        scratch);
  }
  const unsigned blocks = BlocksFor(elements, kMostLossBlocks);
  return LaunchKernel(MseLossKernel<T, 1, kGrad>, blocks, kThreads, stream, grid, output, scratch);
}

constexpr int kLossLanes = 16;
constexpr int kLossColumns = kThreads / kLossLanes;

// The loss in the invariant order. A block takes kLossColumns columns, a thread every kLossLanes'th
// row of one; the last block adds up the columns.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    InvariantLossKernel(DeviceMatrix y, DeviceMatrix t, LossOutput output, Scratch scratch) {
  __shared__ double of_lane[kLossLanes][kLossColumns + 1];
  __shared__ double of_column[kThreads];
  const bool down = y.row_stride == 1;
  const int thread = threadIdx.x;
  const int lane = down ? thread % kLossLanes : thread / kLossColumns;
  const int at = down ? thread / kLossLanes : thread % kLossColumns;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kLossColumns;
  double sum = 0;
  if (first + at < y.columns) {
    const T* of_y = static_cast<const T*>(y.data) + (first + at) * y.column_stride;
    const T* of_t = static_cast<const T*>(t.data) + (first + at) * t.column_stride;
#pragma unroll 4
    for (int64_t i = lane; i < y.rows; i += kLossLanes) {
      const double error = __dsub_rn(static_cast<double>(Widen(of_y[i * y.row_stride])),
                                     static_cast<double>(Widen(of_t[i * t.row_stride])));
      sum = __dadd_rn(sum, __dmul_rn(error, error));
    }
  }
  of_lane[lane][at] = sum;
  __syncthreads();
  auto* partials = static_cast<double*>(scratch.partials);
  if (thread < kLossColumns && first + thread < y.columns) {
    double total = 0;
    for (int i = 0; i < kLossLanes; ++i) total = __dadd_rn(total, of_lane[i][thread]);
    partials[first + thread] = total;
  }
  if (!IsLastBlock(scratch.counters, gridDim.x)) return;
  double total = 0;
  for (int64_t begin = 0; begin < y.columns; begin += kThreads) {
    const int count = static_cast<int>(min(y.columns - begin, static_cast<int64_t>(kThreads)));
    if (thread < count) of_column[thread] = __ldcg(&partials[begin + thread]);
    __syncthreads();
    if (thread == 0) {
      for (int i = 0; i < count; ++i) total = __dadd_rn(total, of_column[i]);
    }
    __syncthreads();
  }
  if (thread == 0) StoreLoss(output, total);
}

int64_t LossBlocks(const DeviceMatrix& y) {
  return std::max<int64_t>(1, (y.columns + kLossColumns - 1) / kLossColumns);
}

cudaError_t InvariantMseLoss(const DeviceMatrix& y, const DeviceMatrix& t, const LossOutput& output,
                             const Scratch& scratch, cudaStream_t stream) {
  return Dispatch(y.dtype, [&](auto type) {
    InvariantLossKernel<decltype(type)>
        <<<static_cast<unsigned>(LossBlocks(y)), kThreads, 0, stream>>>(y, t, output, scratch);
    return cudaGetLastError();
  });
}

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

}  // namespace

ScratchSize MseLossScratch(const DeviceMatrix& y, SumOrder order) {
  const int64_t partials =
      order == SumOrder::kInvariant ? LossBlocks(y) * kLossColumns : kMostLossBlocks;
  return {partials * static_cast<int64_t>(sizeof(double)), 1};
}

ScratchSize SumRowsScratch(const DeviceMatrix& g) {
  if (RunsDownRows(g)) return {};
  const int64_t width = SizeOf(g.dtype);
  const RowCut cut =
      CutRows(g.rows, g.columns, RowsVectorise(g) ? static_cast<int>(16 / width) : 1);
  if (cut.chunks == 1) return {};
  return {cut.chunks * g.columns * SizeOf(AccumulatorOf(g.dtype)), cut.tiles};
}

cudaError_t MseLoss(const DeviceMatrix& y, const DeviceMatrix& t, double scale,
                    const DeviceMatrix& loss, const DeviceMatrix* dy, SumOrder order,
                    const Scratch& scratch, cudaStream_t stream) {
  const LossOutput output{loss.data, loss.dtype == DType::kFloat64, scale};
  if (order == SumOrder::kInvariant) {
    const cudaError_t error = dy != nullptr ? MseGrad(y, t, scale, *dy, stream) : cudaSuccess;
    return error == cudaSuccess ? InvariantMseLoss(y, t, output, scratch, stream) : error;
  }
  Grid grid = dy != nullptr ? MakeGrid({y, t, *dy}) : MakeGrid({t, y});
  if (dy == nullptr) std::swap(grid.lanes[0], grid.lanes[1]);
  return Dispatch(y.dtype, [&](auto type) {
    using T = decltype(type);
    return dy != nullptr ? LaunchMseLoss<T, true>(grid, output, scratch, stream)
                         : LaunchMseLoss<T, false>(grid, output, scratch, stream);
  });
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
    return RowsVectorise(g) ? LaunchSumRows<T, kVector>(g, to, out.column_stride, scratch, stream)
                            : LaunchSumRows<T, 1>(g, to, out.column_stride, scratch, stream);
  });
}

}  // namespace tp::nccl
