// Rows: views whose last dimension is worked on as a whole, a line by a warp or a block.
#pragma once

#include <array>

#include "backends/nccl/kernels/reduce.cuh"
#include "backends/nccl/kernels/walk.cuh"

namespace tp::nccl {

// A view with a line a row, or with one number.
struct RowView {
  DeviceView view;
  bool has_line = true;
};

template <int kLanes>
struct Rows {
  Places<kLanes> places;
  int64_t length = 0;            // of a line
  int64_t strides[kLanes] = {};  // along it; 0 where there is one number a row
  void* data[kLanes] = {};
  bool even = true;  // all lines can be moved 16 bytes at a time

  int64_t count() const { return places.count; }
};

template <int kLanes>
Rows<kLanes> MakeRows(const std::array<RowView, kLanes>& views) {
  std::array<DeviceView, kLanes> firsts;
  for (int l = 0; l < kLanes; ++l) {
    firsts[l] = views[l].has_line ? views[l].view.Rows() : views[l].view;
  }
  Rows<kLanes> rows;
  rows.places = MakePlaces<kLanes>(firsts);
  for (int l = 0; l < kLanes; ++l) {
    rows.data[l] = views[l].view.data;
    if (!views[l].has_line) continue;
    const Dim line = views[l].view.Last();
    rows.length = line.size;
    rows.strides[l] = line.stride;
    rows.even = rows.even && LinesAreEven(rows.places, l, views[l].view, line.stride, line.size);
  }
  return rows;
}

// Where element j of a line is: of more than one at a time, lines are even.
template <int kVector>
__device__ inline int64_t Along(int64_t j, int64_t stride) {
  return kVector > 1 ? j : j * stride;
}

// The kVector elements of a line from element j on, widened.
template <typename T, int kVector>
__device__ inline void LoadFromLine(const T* line, int64_t j, int64_t stride,
                                    Accumulator<T>* values) {
  const auto wide = Widen(LoadPack<T, kVector>(line + Along<kVector>(j, stride)));
#pragma unroll
  for (int k = 0; k < kVector; ++k) values[k] = wide.at[k];
}

// How many of a line's vectors are this thread's, of kPerRow that have a row: every kPerRow-th.
template <int kVector, int kPerRow>
__device__ inline int64_t VectorsOf(int thread, int64_t length) {
  return (length / kVector - thread + kPerRow - 1) / kPerRow;
}

// A line that all rows share.
struct SharedLine {
  const void* data;
  int64_t stride;

  static SharedLine Of(const DeviceView& view) { return {view.data, view.Last().stride}; }
  // Whether it can be moved 16 bytes at a time.
  static bool IsEven(const DeviceView& view) {
    return LinesAreEven(Places<1>{}, 0, view, view.Last().stride, view.Last().size);
  }
  // From element j on; zeros where they are not `there`.
  template <typename T, int kVector>
  __device__ Pack<T, kVector> Load(int64_t j, bool there = true) const {
    return LoadPack<T, kVector>(static_cast<const T*>(data) + Along<kVector>(j, stride), there);
  }
};

// Calls body(row, thread of the row) for this thread's rows. All threads of a row are there.
template <int kPerRow, typename Body>
__device__ inline void ForEachRow(int64_t rows, const Body& body) {
  constexpr int kRows = kThreads / kPerRow;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kRows;
  const int thread = threadIdx.x % kPerRow;
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * kRows + threadIdx.x / kPerRow; row < rows;
       row += step) {
    body(row, thread);
  }
}

struct Plus {
  template <typename A>
  __device__ A operator()(A a, A b) const {
    return a + b;
  }
};
// A NaN is greater than all numbers.
struct Greater {
  template <typename A>
  __device__ A operator()(A a, A b) const {
    return a > b || a != a ? a : b;
  }
};

// What all threads of a row have, each number joined with those of its kind in a fixed tree; valid
// in each of them.
template <int kPerRow, int kCount, typename A, typename Join>
__device__ inline void OverRow(A (&values)[kCount], const Join& join) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
#pragma unroll
    for (A& value : values) value = join(value, __shfl_xor_sync(0xffffffffu, value, offset));
  }
  if constexpr (kPerRow > kWarp) {
    constexpr int kWarps = kPerRow / kWarp;
    __shared__ A of_warp[kWarps][kCount];
    __syncthreads();  // what was there before has been read
    if (threadIdx.x % kWarp == 0) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) of_warp[threadIdx.x / kWarp][i] = values[i];
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      values[i] = of_warp[0][i];
#pragma unroll
      for (int w = 1; w < kWarps; ++w) values[i] = join(values[i], of_warp[w][i]);
    }
  }
}
template <int kPerRow, typename A, typename Join>
__device__ inline A OverRow(A value, const Join& join) {
  A values[1] = {value};
  OverRow<kPerRow>(values, join);
  return values[0];
}

template <int kValue>
struct Constant {
  static constexpr int value = kValue;
};

template <int kPerRow>
unsigned RowBlocks(int64_t rows) {
  constexpr int kRows = kThreads / kPerRow;
  return static_cast<unsigned>(std::min<int64_t>((rows + kRows - 1) / kRows, int64_t{1} << 30));
}

// Calls launch(threads a row, elements a vector, blocks), the first two as Constants.
template <typename T, int kLanes, typename Launch>
cudaError_t DispatchRows(const Rows<kLanes>& rows, const Launch& launch) {
  constexpr int kVector = 16 / sizeof(T);
  constexpr int64_t kLongLine = 1024;
  if (rows.count() == 0) return cudaSuccess;
  const auto of_vector = [&](auto per_row) {
    const unsigned blocks = RowBlocks<per_row.value>(rows.count());
    return rows.even ? launch(per_row, Constant<kVector>{}, blocks)
                     : launch(per_row, Constant<1>{}, blocks);
  };
  return rows.length > kLongLine ? of_vector(Constant<kThreads>{}) : of_vector(Constant<kWarp>{});
}

// Blocks that a multiprocessor shall have at a time where a thread holds so many vectors: enough
// bytes are then under way.
constexpr int HeldBlocks(int held) { return held <= 2 ? 5 : held <= 4 ? 4 : 3; }

// Calls launch(elements a vector, threads a row, vectors that a thread holds, blocks), the first
// three as Constants. Lines that are longer than those vectors are read again.
template <typename T, int kLanes, typename Launch>
cudaError_t DispatchHeldRows(const Rows<kLanes>& rows, const Launch& launch) {
  if (rows.count() == 0) return cudaSuccess;
  const auto with = [&](auto vector, auto per_row, auto held) {
    return launch(vector, per_row, held, RowBlocks<per_row.value>(rows.count()));
  };
  constexpr int kVector = 16 / sizeof(T);
  if (!rows.even) return with(Constant<1>{}, Constant<kThreads>{}, Constant<4>{});
  const int64_t vectors = rows.length / kVector;
  if (vectors <= 2 * kWarp) return with(Constant<kVector>{}, Constant<kWarp>{}, Constant<2>{});
  if (vectors <= 8 * kWarp) return with(Constant<kVector>{}, Constant<kWarp>{}, Constant<8>{});
  if (vectors <= 2 * kThreads) {
    return with(Constant<kVector>{}, Constant<kThreads>{}, Constant<2>{});
  }
  return with(Constant<kVector>{}, Constant<kThreads>{}, Constant<4>{});
}

// The sum of what `blocks` blocks have, this one being number `block` of them, in a fixed order, to
// store(sum) on one thread. Takes as many partials, and a counter.
template <typename Store>
__device__ inline void SumOverBlocks(double sum, double* partials, unsigned* counter,
                                     unsigned block, unsigned blocks, const Store& store) {
  sum = SumOverBlock(sum);
  if (threadIdx.x == 0) partials[block] = sum;
  if (!IsLastBlock(counter, blocks)) return;
  double total = 0;
  for (unsigned i = threadIdx.x; i < blocks; i += kThreads) total += __ldcg(&partials[i]);
  total = SumOverBlock(total);
  if (threadIdx.x == 0) store(total);
}

// The same of all blocks of a one-dimensional grid: gridDim.x partials and a counter of `scratch`.
template <typename Store>
__device__ inline void SumOverGrid(double sum, const Scratch& scratch, const Store& store) {
  SumOverBlocks(sum, static_cast<double*>(scratch.partials), scratch.counters, blockIdx.x,
                gridDim.x, store);
}
inline constexpr int64_t kMostSumBlocks = 1024;
inline constexpr ScratchSize kSumScratch = {kMostSumBlocks * 8, 1};

}  // namespace tp::nccl
