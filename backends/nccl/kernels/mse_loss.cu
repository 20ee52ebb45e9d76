#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/map.cuh"
#include "backends/nccl/kernels/reduce.cuh"

namespace tp::nccl {
namespace {

constexpr int kMostLossBlocks = 1024;

struct ScaledDifference {
  double factor;
  template <typename A>
  __device__ A operator()(A a, A b) const {
    return static_cast<A>(factor * (static_cast<double>(a) - static_cast<double>(b)));
  }
};

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

}  // namespace

ScratchSize MseLossScratch(const DeviceMatrix& y, SumOrder order) {
  const int64_t partials =
      order == SumOrder::kInvariant ? LossBlocks(y) * kLossColumns : kMostLossBlocks;
  return {partials * static_cast<int64_t>(sizeof(double)), 1};
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

namespace {

ScratchSize LossScratch(const KernelCall& c) { return MseLossScratch(c.in[0].matrix(), c.order); }
double ScaleOf(const KernelCall& c) { return c.op.attributes.Number("scale"); }

}  // namespace

const Kernel kMseLossKernel = {Action{"mse_loss"},
                               [](const KernelCall& c, cudaStream_t stream) {
                                 return MseLoss(c.in[0].matrix(), c.in[1].matrix(), ScaleOf(c),
                                                c.out[0].matrix(), nullptr, c.order, c.scratch,
                                                stream);
                               },
                               LossScratch, /*of_matrices=*/true};
const Kernel kMseGradKernel = {Action{"mse_grad"},
                               [](const KernelCall& c, cudaStream_t stream) {
                                 return MseGrad(c.in[0].matrix(), c.in[1].matrix(), ScaleOf(c),
                                                c.out[0].matrix(), stream);
                               },
                               nullptr, /*of_matrices=*/true};
const Kernel kMseLossGradKernel = {Action{"mse_loss_grad"},
                                   [](const KernelCall& c, cudaStream_t stream) {
                                     const DeviceMatrix dy = c.out[1].matrix();
                                     return MseLoss(c.in[0].matrix(), c.in[1].matrix(), ScaleOf(c),
                                                    c.out[0].matrix(), &dy, c.order, c.scratch,
                                                    stream);
                                   },
                                   LossScratch, /*of_matrices=*/true};

}  // namespace tp::nccl
