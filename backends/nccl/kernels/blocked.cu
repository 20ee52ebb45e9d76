#include <vector>

#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/blocked.cuh"
#include "backends/nccl/kernels/blocked.h"
#include "backends/nccl/kernels/element.cuh"
#include "backends/nccl/kernels/sum_node.cuh"

namespace tp::nccl {
namespace {

__device__ inline float MultiplyAdd(float a, float b, float c) { return __fmaf_rn(a, b, c); }
__device__ inline double MultiplyAdd(double a, double b, double c) { return __fma_rn(a, b, c); }

// A tile of c is kSide * kPerThread elements wide and high; its terms come kTerms at a time.
constexpr int kSide = 16;
constexpr int kTerms = 16;
static_assert(kSide * kSide == kThreads);

template <int kTile>
constexpr int kPitch = kTile + 4;  // rows of a tile begin in different banks

// One operand's part of a tile on its way to shared memory: kTile rows by kTerms terms. Threads run
// along the direction in which the matrix lies.
template <typename T, int kTile>
class Loader {
 public:
  using W = Accumulator<T>;

  // The operand's rows from `row` on; its columns are the terms.
  __device__ Loader(const DeviceMatrix& m, int64_t row) {
    const int thread = threadIdx.x;
    const bool down = m.row_stride == 1;
    row_ = down ? thread % kTile : thread / kTerms;
    term_ = down ? thread / kTile : thread % kTerms;
    row_step_ = down ? 0 : kThreads / kTerms;
    term_step_ = down ? kThreads / kTile : 0;
    rows_left_ = m.rows - row;
    stride_ = m.column_stride;
    step_ = row_step_ * m.row_stride + term_step_ * m.column_stride;
    from_ = static_cast<const T*>(m.data) + (row + row_) * m.row_stride + term_ * m.column_stride;
  }

  // The terms [begin, end), as far as they fit.
  __device__ void Load(int64_t begin, int64_t end) {
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      const bool inside = row_ + i * row_step_ < rows_left_ && begin + term_ + i * term_step_ < end;
      values_[i] = inside ? from_[begin * stride_ + i * step_] : T{};
    }
  }
  __device__ void Store(W (*tile)[kPitch<kTile>]) const {
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      tile[term_ + i * term_step_][row_ + i * row_step_] = Widen(values_[i]);
    }
  }

 private:
  static constexpr int kItems = kTile * kTerms / kThreads;

  int row_, term_, row_step_, term_step_;
  int64_t rows_left_, stride_, step_;
  const T* from_;
  T values_[kItems];
};

// The tiles of terms, leaf after leaf.
class Cursor {
 public:
  __device__ Cursor(const SumWalk& walk, int node)
      : walk_(walk), leaf_(walk.first_leaf[node]), last_(walk.first_leaf[node + 1]) {
    begin_ = walk.leaves[leaf_].begin;
    SkipEmpty();
  }
  __device__ bool AtEnd() const { return leaf_ == last_; }
  __device__ int64_t begin() const { return begin_; }
  __device__ int64_t end() const { return walk_.leaves[leaf_].end; }
  __device__ void Advance() {
    begin_ += kTerms;
    SkipEmpty();
  }

 private:
  __device__ void SkipEmpty() {
    while (leaf_ < last_ && begin_ >= walk_.leaves[leaf_].end) {
      if (++leaf_ < last_) begin_ = walk_.leaves[leaf_].begin;
    }
  }

  const SumWalk& walk_;
  int leaf_;
  const int last_;
  int64_t begin_;
};

// a [m, k] times the transpose of b [n, k]. Grid: (tiles, nodes).
template <typename T, typename C, int kPerThread>
__global__ void __launch_bounds__(kThreads, sizeof(Accumulator<T>) == sizeof(float) ? 2 : 1)
    BlockedGemmKernel(DeviceMatrix a, DeviceMatrix b, const __grid_constant__ Outputs c,
                      int64_t tiles_across, const __grid_constant__ SumWalk walk) {
  using W = Accumulator<T>;
  constexpr int kTile = kSide * kPerThread;
  using Operands = Pack<W, kPerThread>;
  __shared__ alignas(sizeof(Operands)) W tile_a[kTerms][kPitch<kTile>];
  __shared__ alignas(sizeof(Operands)) W tile_b[kTerms][kPitch<kTile>];
  const int node = blockIdx.y;
  const int64_t row = blockIdx.x / tiles_across * kTile;
  const int64_t column = blockIdx.x % tiles_across * kTile;
  const int down = threadIdx.x / kSide * kPerThread;
  const int across = threadIdx.x % kSide * kPerThread;
  Loader<T, kTile> of_a(a, row), of_b(b, column);
  Cursor next(walk, node);
  const auto load = [&] {
    if (next.AtEnd()) return;
    of_a.Load(next.begin(), next.end());
    of_b.Load(next.begin(), next.end());
    next.Advance();
  };
  load();
  W sums[kPerThread * kPerThread];
  SumNode<kPerThread * kPerThread>(walk, node, sums, [&](int leaf, W* sum) {
#pragma unroll
    for (int i = 0; i < kPerThread * kPerThread; ++i) sum[i] = 0;
    const int64_t end = walk.leaves[leaf].end;
    for (int64_t begin = walk.leaves[leaf].begin; begin < end; begin += kTerms) {
      __syncthreads();  // all are done with the terms before
      of_a.Store(tile_a);
      of_b.Store(tile_b);
      __syncthreads();
      load();  // while these are multiplied
      // No term past the block's end: adding a zero can change a sum, from -0 to 0.
      const int count = static_cast<int>(min(end - begin, static_cast<int64_t>(kTerms)));
#pragma unroll 8
      for (int term = 0; term < count; ++term) {
        const auto x = *reinterpret_cast<const Operands*>(&tile_a[term][down]);
        const auto y = *reinterpret_cast<const Operands*>(&tile_b[term][across]);
#pragma unroll
        for (int i = 0; i < kPerThread; ++i) {
#pragma unroll
          for (int j = 0; j < kPerThread; ++j) {
            sum[i * kPerThread + j] = MultiplyAdd(x.at[i], y.at[j], sum[i * kPerThread + j]);
          }
        }
      }
    }
  });
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
#pragma unroll
    for (int j = 0; j < kPerThread; ++j) {
      if (row + down + i >= c.like.rows || column + across + j >= c.like.columns) continue;
      StoreSum<C>(c, node, row + down + i, column + across + j, sums[i * kPerThread + j]);
    }
  }
}

constexpr int kWarp = 32;

// A warp takes a leaf of kWarp columns, then a node. Block: (kWarp, kSumBlocks).
template <typename T, typename C>
__global__ void __launch_bounds__(kWarp* kSumBlocks)
    BlockedSumRowsKernel(DeviceMatrix g, const __grid_constant__ Outputs out,
                         const __grid_constant__ SumWalk walk) {
  using W = Accumulator<T>;
  __shared__ W of_leaf[kSumBlocks][kWarp];
  const int warp = threadIdx.y;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kWarp + threadIdx.x;
  if (column < g.columns && warp < walk.first_leaf[walk.num_nodes]) {
    const T* from = static_cast<const T*>(g.data) + column * g.column_stride;
    const int64_t end = walk.leaves[warp].end;
    W sum = 0;
#pragma unroll 8
    for (int64_t i = walk.leaves[warp].begin; i < end; ++i) {
      sum = Add(sum, Widen(from[i * g.row_stride]));
    }
    of_leaf[warp][threadIdx.x] = sum;
  }
  __syncthreads();
  if (column >= g.columns || warp >= walk.num_nodes) return;
  W sum = 0;
  SumNode<1>(walk, warp, &sum, [&](int leaf, W* of) { *of = of_leaf[leaf][threadIdx.x]; });
  StoreSum<C>(out, warp, 0, column, sum);
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    SumBlocksKernel(DeviceMatrix nodes, DeviceMatrix out, const __grid_constant__ SumWalk walk) {
  using W = Accumulator<T>;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (column >= out.columns) return;
  const W* from = static_cast<const W*>(nodes.data) + column * nodes.column_stride;
  W sum = 0;
  SumNode<1>(walk, 0, &sum,
             [&](int leaf, W* of) { *of = from[walk.leaves[leaf].begin * nodes.row_stride]; });
  static_cast<T*>(out.data)[column * out.column_stride] = Round<T>(sum);
}

// Calls f(T{}, C{}) with the types of dtype and c_dtype.
template <typename F>
cudaError_t DispatchBoth(DType dtype, DType c_dtype, const F& f) {
  return Dispatch(dtype, [&](auto element) {
    using W = Accumulator<decltype(element)>;
    return c_dtype == dtype ? f(element, element) : f(element, W{});
  });
}

template <typename T, typename C, int kPerThread>
cudaError_t LaunchGemm(const TurnedProduct& p, const SumWalk& walk, cudaStream_t stream) {
  constexpr int64_t kTile = kSide * kPerThread;
  const DeviceMatrix& c = p.c.like;
  const int64_t across = CeilDivide(c.columns, kTile);
  const dim3 blocks(static_cast<unsigned>(CeilDivide(c.rows, kTile) * across), walk.num_nodes);
  BlockedGemmKernel<T, C, kPerThread><<<blocks, kThreads, 0, stream>>>(p.a, p.b, p.c, across, walk);
  return cudaGetLastError();
}

}  // namespace

cudaError_t BlockedGemm(const DeviceMatrix& a, const DeviceMatrix& b, const BlockedSum& sum,
                        std::span<const DeviceMatrix> c, cudaStream_t stream) {
  if (c[0].empty()) return cudaSuccess;
  const TurnedProduct p(a, b, c);
  const SumWalk walk = WalkBlocks(sum);
  constexpr int64_t kLarge = 4 * kSide;
  const int64_t tiles = CeilDivide(c[0].rows, kLarge) * CeilDivide(c[0].columns, kLarge);
  return DispatchBoth(a.dtype, c[0].dtype, [&](auto element, auto stored) {
    using T = decltype(element);
    using C = decltype(stored);
    return tiles * walk.num_nodes < kFewTiles ? LaunchGemm<T, C, 2>(p, walk, stream)
                                              : LaunchGemm<T, C, 4>(p, walk, stream);
  });
}

cudaError_t BlockedSumRows(const DeviceMatrix& g, const BlockedSum& sum,
                           std::span<const DeviceMatrix> out, cudaStream_t stream) {
  if (out[0].empty()) return cudaSuccess;
  const auto blocks = static_cast<unsigned>(CeilDivide(g.columns, kWarp));
  const Outputs outputs(out);
  const SumWalk walk = WalkBlocks(sum);
  return DispatchBoth(g.dtype, out[0].dtype, [&](auto element, auto stored) {
    BlockedSumRowsKernel<decltype(element), decltype(stored)>
        <<<blocks, dim3(kWarp, kSumBlocks), 0, stream>>>(g, outputs, walk);
    return cudaGetLastError();
  });
}

cudaError_t SumBlocks(const DeviceMatrix& nodes, const BlockedSum& sum, const DeviceMatrix& out,
                      cudaStream_t stream) {
  if (out.empty()) return cudaSuccess;
  const auto blocks = static_cast<unsigned>(CeilDivide(out.columns, kThreads));
  const SumWalk walk = WalkNodes(sum.nodes);
  return Dispatch(out.dtype, [&](auto type) {
    SumBlocksKernel<decltype(type)><<<blocks, kThreads, 0, stream>>>(nodes, out, walk);
    return cudaGetLastError();
  });
}

namespace {

std::vector<DeviceMatrix> MatricesOf(const std::vector<DeviceView>& views) {
  std::vector<DeviceMatrix> matrices;
  for (const DeviceView& view : views) matrices.push_back(view.matrix());
  return matrices;
}

}  // namespace

const Kernel kBlockedGemmKernel = {
    Action::kBlockedGemm,
    [](const KernelCall& c, cudaStream_t stream) {
      const auto product =
          c.tensor_cores && TensorCoresTake(c.in[0].dtype) ? BlockedGemmOnTensorCores : BlockedGemm;
      return product(c.in[0].matrix(), c.in[1].matrix(), c.op.sum, MatricesOf(c.out), stream);
    },
    nullptr, OfMatrices::kEverywhere};
const Kernel kBlockedSumRowsKernel = {Action::kBlockedSumRows,
                                      [](const KernelCall& c, cudaStream_t stream) {
                                        return BlockedSumRows(c.in[0].matrix(), c.op.sum,
                                                              MatricesOf(c.out), stream);
                                      },
                                      nullptr, OfMatrices::kEverywhere};
const Kernel kSumBlocksKernel = {Action::kSumBlocks,
                                 [](const KernelCall& c, cudaStream_t stream) {
                                   return SumBlocks(c.in[0].matrix(), c.op.sum, c.out[0].matrix(),
                                                    stream);
                                 },
                                 nullptr, OfMatrices::kEverywhere};

}  // namespace tp::nccl
