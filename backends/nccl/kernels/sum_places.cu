#include "backends/nccl/kernels/columns.cuh"
#include "backends/nccl/kernels/sum_places.h"
#include "backends/nccl/kernels/walk.cuh"

namespace tp::nccl {
namespace {

// A block takes a chunk of the rows and kThreads columns, a thread a column. Lanes of columns: x,
// out.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    SumPlacesKernel(const T* x, const __grid_constant__ Places<1> rows,
                    const __grid_constant__ Places<2> columns, int64_t rows_per_chunk,
                    Accumulator<T>* partials) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (column >= columns.count) return;
  int64_t at[2], of_row[1];
  columns.Find(column, at);
  const int64_t begin = blockIdx.y * rows_per_chunk;
  const int64_t end = min(begin + rows_per_chunk, rows.count);
  A sum = 0;
  for (int64_t row = begin; row < end; ++row) {
    rows.Find(row, of_row);
    sum += Widen(x[at[0] + of_row[0]]);
  }
  partials[blockIdx.y * columns.count + column] = sum;
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    FinishKernel(const Accumulator<T>* partials, int64_t chunks,
                 const __grid_constant__ Places<2> columns, T* out) {
  AwaitEarlierKernels();
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (column >= columns.count) return;
  Accumulator<T> sum = 0;
#pragma unroll 8
  for (int64_t i = 0; i < chunks; ++i) sum += partials[i * columns.count + column];
  int64_t at[2];
  columns.Find(column, at);
  out[at[1]] = Round<T>(sum);
}

DeviceView RowsOf(const DeviceView& x, int summed) {
  DeviceView rows{x.data, x.dtype};
  for (int d = 0; d < summed; ++d) rows.dims.push_back(x.dims[d]);
  return rows;
}

DeviceView ColumnsOf(const DeviceView& x, int summed) {
  DeviceView columns{x.data, x.dtype};
  for (int d = summed; d < x.dims.size(); ++d) columns.dims.push_back(x.dims[d]);
  return columns;
}

}  // namespace

ScratchSize SumPlacesScratch(const DeviceView& x, int summed) {
  return ChunkScratch(CutIntoChunks(RowsOf(x, summed).size()), ColumnsOf(x, summed).size(),
                      x.dtype);
}

cudaError_t SumPlaces(const DeviceView& x, int summed, const DeviceView& out,
                      const Scratch& scratch, cudaStream_t stream) {
  const Places<1> rows = MakePlaces<1>({RowsOf(x, summed)});
  const Places<2> columns = MakePlaces<2>({ColumnsOf(x, summed), out});
  if (columns.count == 0) return cudaSuccess;
  const Chunks chunks = CutIntoChunks(rows.count);
  const auto across = static_cast<unsigned>((columns.count + kThreads - 1) / kThreads);
  return Dispatch(x.dtype, [&](auto type) {
    using T = decltype(type);
    auto* partials = static_cast<Accumulator<T>*>(scratch.partials);
    const cudaError_t error = LaunchKernel(
        SumPlacesKernel<T>, dim3(across, static_cast<unsigned>(chunks.count)), kThreads, stream,
        static_cast<const T*>(x.data), rows, columns, chunks.rows, partials);
    if (error != cudaSuccess) return error;
    return LaunchKernel(FinishKernel<T>, across, kThreads, stream, partials, chunks.count, columns,
                        static_cast<T*>(out.data));
  });
}

}  // namespace tp::nccl
