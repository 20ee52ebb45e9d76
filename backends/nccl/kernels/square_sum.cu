// Sums of squares: a tensor is cut in pieces, of which each is a block's; the last block of a
// tensor adds up what all have left, in a fixed order. Of a group of ops the sums lie in scratch
// memory first, from where one thread puts them where the ops say, in their order: an op's memory
// may be that of an op before.
#include <algorithm>

#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/grouped.h"
#include "backends/nccl/kernels/pieces.cuh"
#include "backends/nccl/kernels/rows.cuh"

namespace tp::nccl {
namespace {

constexpr Action kSquareSum{"square_sum"};
constexpr int kPieceVectors = 8 * kThreads;
constexpr int64_t kNumberBytes = 8;  // of the widest sum

struct SquaredTensor {
  const void* x;
  int64_t vectors;
  void* out;
};

struct SquaredTensors {
  Pieces<kPieceVectors> pieces;
  SquaredTensor tensors[kMostTensors];
};

template <typename T>
__global__ void __launch_bounds__(kThreads)
    SquaresKernel(const __grid_constant__ SquaredTensors squared, Scratch scratch) {
  AwaitEarlierKernels();
  constexpr int kVector = 16 / sizeof(T);
  using A = Accumulator<T>;
  const int mine = squared.pieces.Mine();
  const SquaredTensor& tensor = squared.tensors[mine];
  double sum = 0;
  squared.pieces.ForEach(mine, tensor.vectors, [&](int64_t vector) {
    A x[kVector];
    LoadVector<T, kVector>(static_cast<const T*>(tensor.x) + vector * kVector, 1, x);
#pragma unroll
    for (int k = 0; k < kVector; ++k) {
      sum += static_cast<double>(x[k]) * static_cast<double>(x[k]);
    }
  });
  SumOverBlocks(sum, static_cast<double*>(scratch.partials) + squared.pieces.first[mine],
                scratch.counters + mine, blockIdx.x - squared.pieces.first[mine],
                squared.pieces.OfTensor(mine),
                [&](double total) { *static_cast<A*>(tensor.out) = static_cast<A>(total); });
}

// Of one tensor, wherever its elements lie.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    StridedSquareSumKernel(const __grid_constant__ Walk<1> walk, Accumulator<T>* out,
                           Scratch scratch) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  double sum = 0;
  ForEachVector<1>(walk.lines.count, walk.length, [&](int64_t line, int64_t j) {
    int64_t at[1];
    walk.lines.Find(line, at);
    const A x = Widen(static_cast<const T*>(walk.data[0])[at[0] + j * walk.strides[0]]);
    sum += static_cast<double>(x) * static_cast<double>(x);
  });
  SumOverGrid(sum, scratch, [&](double total) { *out = static_cast<A>(total); });
}

// out = a, or a + b where there is one.
struct ScalarStep {
  const void* a;
  const void* b;
  void* out;
};
constexpr int kMostSteps = 128;
struct ScalarSteps {
  int count = 0;
  ScalarStep steps[kMostSteps];
};

// One thread goes through the steps. It keeps what the last two have made: a sum of many numbers
// needs no other.
template <typename A>
__global__ void __launch_bounds__(kMostSteps)
    ScalarStepsKernel(const __grid_constant__ ScalarSteps steps) {
  AwaitEarlierKernels();
  __shared__ A copied[kMostSteps];
  const int thread = threadIdx.x;
  if (thread < steps.count && steps.steps[thread].b == nullptr) {
    copied[thread] = *static_cast<const A*>(steps.steps[thread].a);
  }
  __syncthreads();
  if (thread != 0) return;
  const void *last = nullptr, *second_last = nullptr;
  A of_last = 0, of_second_last = 0;
  const auto read = [&](const void* at) {
    if (at == last) return of_last;
    return at == second_last ? of_second_last : *static_cast<const volatile A*>(at);
  };
  for (int i = 0; i < steps.count; ++i) {
    const ScalarStep& step = steps.steps[i];
    const A value = step.b == nullptr ? copied[i] : read(step.a) + read(step.b);
    *static_cast<volatile A*>(step.out) = value;
    if (step.out != last) {
      second_last = last;
      of_second_last = of_last;
    }
    last = step.out;
    of_last = value;
  }
}

// A square_sum's operand, if it is packed and can be moved 16 bytes at a time.
bool IsPacked(const Walk<1>& walk) {
  return walk.even && walk.lines.count == 1 && walk.strides[0] == 1 && walk.length > 0;
}

// Launches what it is given once it is enough, and at the end.
class SquaresLauncher {
 public:
  SquaresLauncher(const Scratch& scratch, cudaStream_t stream)
      : scratch_(scratch), stream_(stream) {}

  cudaError_t Add(const DeviceView& x, void* out) {
    const Walk<1> walk = MakeWalk<1>({x});
    if (!IsPacked(walk)) return Strided(walk, x.dtype, out);
    cudaError_t error = cudaSuccess;
    if (squared_.pieces.full() || dtype_ != x.dtype) error = Launch();
    dtype_ = x.dtype;
    const int64_t vectors = walk.length / (16 / SizeOf(x.dtype));
    squared_.tensors[squared_.pieces.tensors] = {walk.data[0], vectors, out};
    squared_.pieces.Add(vectors);
    return error;
  }

  cudaError_t Launch() {
    if (squared_.pieces.tensors == 0) return cudaSuccess;
    const cudaError_t error = Dispatch(dtype_, [&](auto type) {
      return LaunchKernel(SquaresKernel<decltype(type)>,
                          static_cast<unsigned>(squared_.pieces.count()), kThreads, stream_,
                          squared_, scratch_);
    });
    squared_.pieces = {};
    return error;
  }

 private:
  cudaError_t Strided(const Walk<1>& walk, DType dtype, void* out) const {
    return Dispatch(dtype, [&](auto type) {
      using T = decltype(type);
      return LaunchKernel(StridedSquareSumKernel<T>, BlocksFor(walk.size(), kMostSumBlocks),
                          kThreads, stream_, walk, static_cast<Accumulator<T>*>(out), scratch_);
    });
  }

  const Scratch scratch_;
  const cudaStream_t stream_;
  DType dtype_ = DType::kFloat32;
  SquaredTensors squared_;
};

cudaError_t LaunchSteps(const ScalarSteps& steps, DType dtype, cudaStream_t stream) {
  if (steps.count == 0) return cudaSuccess;
  return dtype == DType::kFloat64
             ? LaunchKernel(ScalarStepsKernel<double>, 1, kMostSteps, stream, steps)
             : LaunchKernel(ScalarStepsKernel<float>, 1, kMostSteps, stream, steps);
}

cudaError_t SquareSum(const KernelCall& c, cudaStream_t stream) {
  SquaresLauncher launcher(c.scratch, stream);
  const cudaError_t error = launcher.Add(c.in[0], c.out[0].data);
  return error == cudaSuccess ? launcher.Launch() : error;
}

int64_t PartialBytes(const DeviceView& x) {
  const int64_t piece = kPieceVectors * (16 / SizeOf(x.dtype));
  return (x.size() / piece + 1) * int64_t{sizeof(double)};
}

}  // namespace

cudaError_t EnqueueSquares(std::span<const KernelCall> calls, cudaStream_t stream) {
  auto* sums = static_cast<char*>(calls[0].scratch.partials);  // a number a call
  const Scratch scratch = {sums + static_cast<int64_t>(calls.size()) * kNumberBytes,
                           calls[0].scratch.counters};
  SquaresLauncher launcher(scratch, stream);
  for (size_t i = 0; i < calls.size(); ++i) {
    if (calls[i].op.action != kSquareSum) continue;
    const cudaError_t error = launcher.Add(calls[i].in[0], sums + i * kNumberBytes);
    if (error != cudaSuccess) return error;
  }
  cudaError_t error = launcher.Launch();
  ScalarSteps steps;
  const DType dtype = calls[0].out[0].dtype;
  for (size_t i = 0; i < calls.size() && error == cudaSuccess; ++i) {
    const bool square = calls[i].op.action == kSquareSum;
    steps.steps[steps.count++] = {square ? sums + i * kNumberBytes : calls[i].in[0].data,
                                  square ? nullptr : calls[i].in[1].data, calls[i].out[0].data};
    if (steps.count < kMostSteps) continue;
    error = LaunchSteps(steps, dtype, stream);
    steps.count = 0;
  }
  return error == cudaSuccess ? LaunchSteps(steps, dtype, stream) : error;
}

ScratchSize SquaresScratch(std::span<const KernelCall> calls) {
  ScratchSize size = kSumScratch;
  int64_t partials = 0;
  for (const KernelCall& call : calls) {
    if (call.op.action == kSquareSum) partials += PartialBytes(call.in[0]);
  }
  size.partial_bytes =
      std::max(size.partial_bytes, partials) + static_cast<int64_t>(calls.size()) * kNumberBytes;
  size.counters = kMostTensors;
  return size;
}

const Kernel kSquareSumKernel = {Action{"square_sum"}, SquareSum, [](const KernelCall& c) {
                                   return SquaresScratch(std::span(&c, 1));
                                 }};

}  // namespace tp::nccl
