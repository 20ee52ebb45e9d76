#include <array>
#include <optional>

#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/map.cuh"
#include "backends/nccl/kernels/rows.cuh"

namespace tp::nccl {
namespace {

struct ScaledDifference {
  double factor;
  template <typename A>
  __device__ A operator()(A a, A b) const {
    return static_cast<A>(factor * (static_cast<double>(a) - static_cast<double>(b)));
  }
};

// The same as an f of WalkKernel.
struct WalkedDifference {
  ScaledDifference f;
  template <typename A>
  __device__ void operator()(const A (&x)[2], A (&y)[1]) const {
    y[0] = f(x[0], x[1]);
  }
};

struct LossOutput {
  void* loss;
  bool is_double;
  double scale;
};

LossOutput OutputOf(const DeviceMatrix& loss, double scale) {
  return {loss.data, loss.dtype == DType::kFloat64, scale};
}

__device__ void StoreLoss(const LossOutput& output, double sum) {
  if (output.is_double) {
    *static_cast<double*>(output.loss) = output.scale * sum;
  } else {
    *static_cast<float*>(output.loss) = static_cast<float>(output.scale * sum);
  }
}

// Adds squares of errors to `sum`, one after the other; y becomes its gradient.
template <typename A, int kVector>
__device__ inline void AddErrors(double factor, A (&y)[kVector], const A (&t)[kVector],
                                 double& sum) {
#pragma unroll
  for (int k = 0; k < kVector; ++k) {
    const double error = static_cast<double>(y[k]) - static_cast<double>(t[k]);
    sum += error * error;
    y[k] = static_cast<A>(factor * error);
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
    AddErrors(factor, y, t, sum);
    if (kGrad) StoreLane<T, kVector>(grid.lanes[2], outer, inner, y);
  });
  SumOverGrid(sum, scratch, [&](double total) { StoreLoss(output, total); });
}

// Of views that are no matrices. Lanes: t, y, and, where it is asked for, the gradient.
template <typename T, int kVector, int kLanes>
__global__ void __launch_bounds__(kThreads)
    LossOfViewsKernel(const __grid_constant__ Walk<kLanes> walk, LossOutput output,
                      Scratch scratch) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  const double factor = 2 * output.scale;
  double sum = 0;
  ForEachVector<kVector>(walk.lines.count, walk.length, [&](int64_t line, int64_t j) {
    int64_t at[kLanes];
    walk.lines.Find(line, at);
    const auto place = [&](int lane) {
      return static_cast<T*>(walk.data[lane]) + at[lane] + j * walk.strides[lane];
    };
    A y[kVector], t[kVector];
    LoadVector<T, kVector>(place(0), walk.strides[0], t);
    LoadVector<T, kVector>(place(1), walk.strides[1], y);
    AddErrors(factor, y, t, sum);
    if constexpr (kLanes == 3) StoreVector<T, kVector>(place(2), y);
  });
  SumOverGrid(sum, scratch, [&](double total) { StoreLoss(output, total); });
}

template <int kLanes>
cudaError_t LossOfViews(const std::array<DeviceView, kLanes>& views, const LossOutput& output,
                        const Scratch& scratch, cudaStream_t stream) {
  const Walk<kLanes> walk = MakeWalk<kLanes>(views);
  return Dispatch(views[0].dtype, [&](auto type) {
    using T = decltype(type);
    constexpr int kVector = 16 / sizeof(T);
    return walk.even ? LaunchKernel(LossOfViewsKernel<T, kVector, kLanes>,
                                    BlocksFor(walk.size() / kVector, kMostSumBlocks), kThreads,
                                    stream, walk, output, scratch)
                     : LaunchKernel(LossOfViewsKernel<T, 1, kLanes>,
                                    BlocksFor(walk.size(), kMostSumBlocks), kThreads, stream, walk,
                                    output, scratch);
  });
}

template <typename T, bool kGrad>
cudaError_t LaunchMseLoss(const Grid& grid, const LossOutput& output, const Scratch& scratch,
                          cudaStream_t stream) {
  constexpr int kVector = 16 / sizeof(T);
  const int64_t elements = grid.outer * grid.inner;
  if (grid.vectorised) {
    const unsigned blocks = BlocksFor(elements / kVector, kMostSumBlocks);
    return LaunchKernel(MseLossKernel<T, kVector, kGrad>, blocks, kThreads, stream, grid, output,
                        scratch);
  }
  const unsigned blocks = BlocksFor(elements, kMostSumBlocks);
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

}  // namespace

ScratchSize MseLossScratch(const DeviceMatrix& y, SumOrder order) {
  if (order == SumOrder::kFast) return kSumScratch;
  return {LossBlocks(y) * kLossColumns * static_cast<int64_t>(sizeof(double)), 1};
}

cudaError_t MseGrad(const DeviceMatrix& y, const DeviceMatrix& t, double scale,
                    const DeviceMatrix& dy, cudaStream_t stream) {
  const Grid grid = MakeGrid({y, t, dy});
  return Dispatch(dy.dtype, [&](auto type) {
    return LaunchMap<decltype(type)>(grid, stream, ScaledDifference{2 * scale});
  });
}

cudaError_t MseLoss(const DeviceMatrix& y, const DeviceMatrix& t, double scale,
                    const DeviceMatrix& loss, const DeviceMatrix* dy, SumOrder order,
                    const Scratch& scratch, cudaStream_t stream) {
  const LossOutput output = OutputOf(loss, scale);
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

namespace {

constexpr OfMatrices kTakes = OfMatrices::kInInvariantOrder;

double ScaleOf(const KernelCall& c) { return c.op.attributes.Number("scale"); }

ScratchSize LossScratch(const KernelCall& c) {
  return c.order == SumOrder::kFast ? kSumScratch : MseLossScratch(c.in[0].matrix(), c.order);
}

// Views of one shape as matrices; nothing where their dimensions do not merge into two.
template <size_t kViews>
std::optional<std::array<DeviceMatrix, kViews>> AsMatrices(std::array<DeviceView, kViews> views) {
  if (views[0].dims.size() > 2) {
    std::array<Dims*, kViews> dims;
    for (size_t i = 0; i < kViews; ++i) dims[i] = &views[i].dims;
    MergeDims(dims);
  }
  if (views[0].dims.size() > 2) return std::nullopt;
  std::array<DeviceMatrix, kViews> matrices;
  for (size_t i = 0; i < kViews; ++i) matrices[i] = views[i].matrix();
  return matrices;
}

cudaError_t EnqueueLoss(const KernelCall& c, cudaStream_t stream) {
  const DeviceView &y = c.in[0], &t = c.in[1], &loss = c.out[0];
  if (const auto matrices = AsMatrices<2>({y, t})) {
    return MseLoss((*matrices)[0], (*matrices)[1], ScaleOf(c), loss.matrix(), nullptr, c.order,
                   c.scratch, stream);
  }
  return LossOfViews<2>({t, y}, OutputOf(loss.matrix(), ScaleOf(c)), c.scratch, stream);
}

cudaError_t EnqueueGrad(const KernelCall& c, cudaStream_t stream) {
  const DeviceView &y = c.in[0], &t = c.in[1], &dy = c.out[0];
  if (const auto matrices = AsMatrices<3>({y, t, dy})) {
    return MseGrad((*matrices)[0], (*matrices)[1], ScaleOf(c), (*matrices)[2], stream);
  }
  return Dispatch(dy.dtype, [&](auto type) {
    return LaunchWalk<2, 1, decltype(type)>({y, t, dy}, stream, WalkedDifference{{2 * ScaleOf(c)}});
  });
}

cudaError_t EnqueueLossAndGrad(const KernelCall& c, cudaStream_t stream) {
  const DeviceView &y = c.in[0], &t = c.in[1], &loss = c.out[0], &dy = c.out[1];
  if (const auto matrices = AsMatrices<3>({y, t, dy})) {
    return MseLoss((*matrices)[0], (*matrices)[1], ScaleOf(c), loss.matrix(), &(*matrices)[2],
                   c.order, c.scratch, stream);
  }
  return LossOfViews<3>({t, y, dy}, OutputOf(loss.matrix(), ScaleOf(c)), c.scratch, stream);
}

}  // namespace

const Kernel kMseLossKernel = {Action{"mse_loss"}, EnqueueLoss, LossScratch, kTakes};
const Kernel kMseGradKernel = {Action{"mse_grad"}, EnqueueGrad};
const Kernel kMseLossGradKernel = {Action{"mse_loss_grad"}, EnqueueLossAndGrad, LossScratch,
                                   kTakes};

}  // namespace tp::nccl
