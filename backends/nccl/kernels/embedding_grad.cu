// The gradient of a lookup: for each row of the table the sum of the lines of dy whose ids stand
// for it.
//
// Few rows may have most of the lines, as where tokens are bytes; so no thread takes a row as a
// whole. Lines are sorted by row, in their order. The lines of a row are cut in chunks of kChunk,
// from its first one on; each chunk is added up in order, and then the chunks of a row. So the sum
// of a row depends on its own lines and their order alone: not on which other rows, or how many
// columns, are on this rank.
#include <cstddef>

#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/rows.cuh"

namespace tp::nccl {
namespace {

constexpr int kChunk = kWarp;  // lines; what follows has a lane a line
constexpr int32_t kNoRow = INT32_MAX;

struct Line {
  int64_t at;      // where it begins in dy
  int32_t row;     // of this rank's part of the table, or kNoRow
  int32_t before;  // earlier lines of its row

  __device__ bool BeginsChunk() const { return before % kChunk == 0; }
};

// Sums of chunks of rows that have more than one, in the accumulator's type. Behind the lines
// before a row there is room for as many as are needed: a row of n > kChunk lines has at most
// 2 n / kChunk chunks, rounded down.
__device__ inline int64_t PlaceOfChunks(int first_line) {
  return 2 * static_cast<int64_t>(first_line) / kChunk;
}
int64_t MostChunks(int64_t lines) { return 2 * lines / kChunk + 1; }

// Ids, dy, and the table, whose lines all have `length` elements. Ids are counted as they are
// written, wherever they lie.
struct Lookup {
  Places<2> places;  // of ids and lines of dy
  const int32_t* ids;
  const void* dy;
  int64_t dy_stride;
  void* table;
  int64_t rows, row_stride, stride, length;
  int64_t begin;        // the id of the table's first row
  int64_t sums_stride;  // from one chunk's sums to the next one's
  bool even;            // all lines can be moved 16 bytes at a time
};

// In scratch memory; this order keeps them aligned.
template <typename A>
struct Lists {
  Line* sorted;
  A* sums;
  int32_t* row_of;  // by id
};

struct Nought {
  template <typename A>
  __device__ void operator()(const A (&)[1], A (&y)[1]) const {
    y[0] = 0;
  }
};

__global__ void __launch_bounds__(kThreads)
    RowsOfIdsKernel(const __grid_constant__ Lookup lookup, int32_t* row_of) {
  AwaitEarlierKernels();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= lookup.places.count) return;
  int64_t at[2];
  lookup.places.Find(i, at);
  const int64_t row = lookup.ids[at[0]] - lookup.begin;
  row_of[i] = row >= 0 && row < lookup.rows ? static_cast<int32_t>(row) : kNoRow;
}

// A line's place among the sorted ones is the number of those of smaller rows and of those before
// it of its own. A warp counts them for kMine lines.
constexpr int kMine = 4;
__global__ void __launch_bounds__(kThreads)
    SortKernel(const __grid_constant__ Lookup lookup, const int32_t* row_of, Line* sorted) {
  AwaitEarlierKernels();
  const auto count = static_cast<int>(lookup.places.count);
  const int lane = threadIdx.x % kWarp;
  const int first = (blockIdx.x * (kThreads / kWarp) + threadIdx.x / kWarp) * kMine;
  if (first >= count) return;
  int32_t mine[kMine];
  int smaller[kMine] = {}, before[kMine] = {};
#pragma unroll
  for (int m = 0; m < kMine; ++m) mine[m] = row_of[min(first + m, count - 1)];
#pragma unroll 4
  for (int j = lane; j < first; j += kWarp) {
    const int32_t other = row_of[j];
#pragma unroll
    for (int m = 0; m < kMine; ++m) {
      smaller[m] += other < mine[m];
      before[m] += other == mine[m];
    }
  }
#pragma unroll 4
  for (int j = first + lane; j < count; j += kWarp) {
    const int32_t other = row_of[j];
#pragma unroll
    for (int m = 0; m < kMine; ++m) smaller[m] += other < mine[m];
  }
#pragma unroll
  for (int m = 0; m < kMine; ++m) {
#pragma unroll
    for (int offset = kWarp / 2; offset > 0; offset /= 2) {
      smaller[m] += __shfl_xor_sync(0xffffffffu, smaller[m], offset);
      before[m] += __shfl_xor_sync(0xffffffffu, before[m], offset);
    }
#pragma unroll
    for (int other = 0; other < m; ++other) before[m] += mine[other] == mine[m];
    if (lane != m || first + m >= count) continue;
    int64_t at[2];
    lookup.places.Find(first + m, at);
    sorted[smaller[m] + before[m]] = {at[1], mine[m], before[m]};
  }
}

// A block adds up the chunks that begin among kChunk lines, for some columns. They end among the
// next kChunk. The sum of a row with one chunk goes to the table.
constexpr int kColumnThreads = 128;
template <typename T, int kVector>
__global__ void __launch_bounds__(kColumnThreads)
    ChunksKernel(const __grid_constant__ Lookup lookup, Lists<Accumulator<T>> lists) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  constexpr int kAhead = 8;  // lines on their way at a time
  __shared__ Line lines[2 * kChunk];
  const auto count = static_cast<int>(lookup.places.count);
  const int base = blockIdx.x * kChunk, lane = threadIdx.x % kWarp;
  for (int i = threadIdx.x; i < 2 * kChunk; i += kColumnThreads) {
    lines[i] = base + i < count ? lists.sorted[base + i] : Line{0, kNoRow, 0};
  }
  __syncthreads();
  const auto which = [&](bool is) { return __ballot_sync(0xffffffffu, is); };
  const unsigned heads = which(lines[lane].BeginsChunk());
  const unsigned later_heads = which(lines[kChunk + lane].BeginsChunk());
  const int with_rows =
      __popc(which(lines[lane].row != kNoRow)) + __popc(which(lines[kChunk + lane].row != kNoRow));
  if (heads == 0) return;
  const int begin = __ffs(heads) - 1, end = min(kChunk + __ffs(later_heads) - 1, with_rows);
  const int64_t column =
      (static_cast<int64_t>(blockIdx.y) * kColumnThreads + threadIdx.x) * kVector;
  if (begin >= end || column >= lookup.length) return;

  A sum[kVector] = {};
  int head = begin;
  const auto store = [&](int next) {
    const Line& first = lines[head];
    if (first.before == 0 && lines[next].row != first.row) {
      StoreVector<T, kVector>(
          static_cast<T*>(lookup.table) + first.row * lookup.row_stride + column * lookup.stride,
          sum);
    } else {
      const int64_t chunk = PlaceOfChunks(base + head - first.before) + first.before / kChunk;
      StoreWide<A, kVector>(lists.sums + chunk * lookup.sums_stride + column, sum);
    }
  };
  for (int i = begin; i < end; i += kAhead) {
    Pack<T, kVector> ahead[kAhead];
#pragma unroll
    for (int a = 0; a < kAhead; ++a) {
      if (i + a >= end) continue;
      ahead[a] = LoadPack<T, kVector>(static_cast<const T*>(lookup.dy) + lines[i + a].at +
                                      column * lookup.dy_stride);
    }
#pragma unroll
    for (int a = 0; a < kAhead; ++a) {
      if (i + a >= end) continue;
      if (i + a > head && lines[i + a].BeginsChunk()) {
        store(i + a);
        head = i + a;
#pragma unroll
        for (int k = 0; k < kVector; ++k) sum[k] = 0;
      }
      const auto of_row = Widen(ahead[a]);
#pragma unroll
      for (int k = 0; k < kVector; ++k) sum[k] += of_row.at[k];
    }
  }
  store(end);
}

// Of rows with more chunks than one, at most one begins among kChunk lines. A block adds up its
// chunks for some columns: each warp every kGroups-th, in order, and then the warps' sums.
template <typename T, int kVector>
__global__ void __launch_bounds__(kThreads)
    SumChunksOfRowsKernel(const __grid_constant__ Lookup lookup, Lists<Accumulator<T>> lists) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  constexpr int kGroups = kThreads / kWarp;
  __shared__ A of_group[kGroups][kVector][kWarp];
  const auto count = static_cast<int>(lookup.places.count);
  const int lane = threadIdx.x % kWarp, group = threadIdx.x / kWarp;
  const int mine = blockIdx.x * kChunk + lane;
  const auto row_of = [&](int line) { return line < count ? lists.sorted[line].row : kNoRow; };
  const bool is_begin = row_of(mine) != kNoRow && lists.sorted[mine].before == 0 &&
                        row_of(mine + kChunk) == row_of(mine);
  const unsigned begins = __ballot_sync(0xffffffffu, is_begin);
  if (begins == 0) return;
  const int begin = blockIdx.x * kChunk + __ffs(begins) - 1;
  const int32_t row = row_of(begin);
  int chunks = 0;
  unsigned alike = 0;
  do {
    alike = __ballot_sync(0xffffffffu, row_of(begin + (chunks + lane) * kChunk) == row);
    chunks += __popc(alike);
  } while (alike == 0xffffffffu);

  const int64_t column = (static_cast<int64_t>(blockIdx.y) * kWarp + lane) * kVector;
  const bool here = column < lookup.length;
  A sum[kVector] = {};
  if (here) {
    const A* from = lists.sums + PlaceOfChunks(begin) * lookup.sums_stride + column;
#pragma unroll 4
    for (int chunk = group; chunk < chunks; chunk += kGroups) {
      A part[kVector];
      LoadWide<A, kVector>(from + chunk * lookup.sums_stride, 1, part);
#pragma unroll
      for (int k = 0; k < kVector; ++k) sum[k] += part[k];
    }
  }
#pragma unroll
  for (int k = 0; k < kVector; ++k) of_group[group][k][lane] = sum[k];
  __syncthreads();
  if (group != 0 || !here) return;
  for (int g = 1; g < kGroups; ++g) {
#pragma unroll
    for (int k = 0; k < kVector; ++k) sum[k] += of_group[g][k][lane];
  }
  StoreVector<T, kVector>(
      static_cast<T*>(lookup.table) + row * lookup.row_stride + column * lookup.stride, sum);
}

Lookup LookupOf(const KernelCall& c) {
  const DeviceView &ids = c.in[0], &dy = c.in[1], &table = c.out[0];
  Lookup lookup{.ids = static_cast<const int32_t*>(ids.data),
                .dy = dy.data,
                .dy_stride = dy.Last().stride,
                .table = table.data,
                .rows = table.dims[0].size,
                .row_stride = table.dims[0].stride,
                .stride = table.dims[1].stride,
                .length = table.dims[1].size,
                .begin = c.op.PartOf('v').begin,
                .sums_stride = (table.dims[1].size + 7) / 8 * 8};
  for (int d = 0; d < ids.dims.size(); ++d) {
    lookup.places.PushBack(ids.dims[d].size, {ids.dims[d].stride, dy.dims[d].stride});
  }
  Places<1> rows;
  rows.PushBack(lookup.rows, {lookup.row_stride});
  lookup.even = LinesAreEven(lookup.places, 1, dy, lookup.dy_stride, lookup.length) &&
                LinesAreEven(rows, 0, table, lookup.stride, lookup.length);
  return lookup;
}

int64_t SumsBytes(const Lookup& lookup, DType dtype) {
  return MostChunks(lookup.places.count) * lookup.sums_stride * SizeOf(AccumulatorOf(dtype));
}

template <typename T, int kVector>
cudaError_t LaunchSums(const Lookup& lookup, const Lists<Accumulator<T>>& lists,
                       cudaStream_t stream) {
  const auto per = [](int64_t items, int64_t of_block) {
    return static_cast<unsigned>((items + of_block - 1) / of_block);
  };
  const int64_t count = lookup.places.count;
  cudaError_t error =
      LaunchKernel(RowsOfIdsKernel, per(count, kThreads), kThreads, stream, lookup, lists.row_of);
  if (error != cudaSuccess) return error;
  error = LaunchKernel(SortKernel, per(count, kThreads / kWarp * kMine), kThreads, stream, lookup,
                       lists.row_of, lists.sorted);
  if (error != cudaSuccess) return error;
  const unsigned chunks = per(count, kChunk);
  error = LaunchKernel(ChunksKernel<T, kVector>,
                       dim3(chunks, per(lookup.length, kColumnThreads * kVector)), kColumnThreads,
                       stream, lookup, lists);
  if (error != cudaSuccess || count <= kChunk) return error;
  return LaunchKernel(SumChunksOfRowsKernel<T, kVector>,
                      dim3(chunks, per(lookup.length, kWarp * kVector)), kThreads, stream, lookup,
                      lists);
}

cudaError_t EmbeddingGrad(const KernelCall& c, cudaStream_t stream) {
  if (c.out[0].empty()) return cudaSuccess;
  const Lookup lookup = LookupOf(c);
  return Dispatch(c.out[0].dtype, [&](auto type) {
    using T = decltype(type);
    using A = Accumulator<T>;
    const cudaError_t error = LaunchWalk<1, 1, T>({c.out[0], c.out[0]}, stream, Nought{});
    if (error != cudaSuccess || lookup.places.count == 0) return error;
    auto* at = static_cast<std::byte*>(c.scratch.partials);
    Lists<A> lists;
    lists.sorted = reinterpret_cast<Line*>(at);
    at += lookup.places.count * static_cast<int64_t>(sizeof(Line));
    lists.sums = reinterpret_cast<A*>(at);
    lists.row_of = reinterpret_cast<int32_t*>(at + SumsBytes(lookup, c.out[0].dtype));
    return lookup.even ? LaunchSums<T, 16 / sizeof(T)>(lookup, lists, stream)
                       : LaunchSums<T, 1>(lookup, lists, stream);
  });
}

}  // namespace

const Kernel kEmbeddingGradKernel = {
    Action{"embedding_grad"}, EmbeddingGrad, [](const KernelCall& c) {
      const Lookup lookup = LookupOf(c);
      const int64_t lists = lookup.places.count * int64_t{sizeof(Line) + sizeof(int32_t)};
      return ScratchSize{lists + SumsBytes(lookup, c.out[0].dtype), 0};
    }};

}  // namespace tp::nccl
