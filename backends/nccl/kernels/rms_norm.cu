#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/rms_norm.cuh"

namespace tp::nccl {
namespace {

// Lanes: x, r, dy, dx. A block takes a chunk of the rows, one after the other; each of its threads
// has columns of its own, whose sums over the chunk it keeps in `sums`.
template <typename T, int kVector>
__global__ void __launch_bounds__(kThreads)
    RmsNormGradKernel(const __grid_constant__ Rows<4> rows, SharedLine gain, int64_t rows_per_chunk,
                      Accumulator<T>* partials, bool sums_are_shared) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  extern __shared__ __align__(16) unsigned char memory[];
  const int64_t n = rows.length, vectors = n / kVector;
  A* const partial = partials + blockIdx.x * n;
  // Number k of vector v is at k vectors + v, so that neighbours' threads meet no bank twice.
  A* const sums = sums_are_shared ? reinterpret_cast<A*>(memory) : partial;
  for (int64_t v = threadIdx.x; v < vectors; v += kThreads) {
    for (int k = 0; k < kVector; ++k) sums[k * vectors + v] = 0;
  }
  const int64_t begin = blockIdx.x * rows_per_chunk;
  const int64_t end = min(begin + rows_per_chunk, rows.places.count);
  for (int64_t row = begin; row < end; ++row) {
    int64_t at[4];
    rows.places.Find(row, at);
    const T* x = static_cast<const T*>(rows.data[0]) + at[0];
    const T* dy = static_cast<const T*>(rows.data[2]) + at[2];
    T* dx = static_cast<T*>(rows.data[3]) + at[3];
    const A r = static_cast<const A*>(rows.data[1])[at[1]];
    const auto load = [&](int64_t v, A* of_x, A* of_dy, A* of_gain) {
      const int64_t j = v * kVector;
      LoadFromLine<T, kVector>(x, j, rows.strides[0], of_x);
      LoadFromLine<T, kVector>(dy, j, rows.strides[2], of_dy);
      const auto by = Widen(gain.Load<T, kVector>(j));
#pragma unroll
      for (int k = 0; k < kVector; ++k) of_gain[k] = by.at[k];
    };
    A sum = 0;
    for (int64_t v = threadIdx.x; v < vectors; v += kThreads) {
      A of_x[kVector], of_dy[kVector], of_gain[kVector];
      load(v, of_x, of_dy, of_gain);
#pragma unroll
      for (int k = 0; k < kVector; ++k) sum += of_dy[k] * of_gain[k] * of_x[k];
    }
    sum = OverRow<kThreads>(sum, Plus{});
    const A along = sum / static_cast<A>(n) * (r * r);
    for (int64_t v = threadIdx.x; v < vectors; v += kThreads) {
      A of_x[kVector], of_dy[kVector], of_gain[kVector];
      load(v, of_x, of_dy, of_gain);
#pragma unroll
      for (int k = 0; k < kVector; ++k) {
        sums[k * vectors + v] += of_dy[k] * (of_x[k] * r);
        of_dy[k] = r * (of_dy[k] * of_gain[k] - of_x[k] * along);
      }
      StoreVector<T, kVector>(dx + Along<kVector>(v * kVector, rows.strides[3]), of_dy);
    }
  }
  if (!sums_are_shared) return;
  for (int64_t v = threadIdx.x; v < vectors; v += kThreads) {
    for (int k = 0; k < kVector; ++k) partial[k * vectors + v] = sums[k * vectors + v];
  }
}

// Of lines that a thread can't hold its part of, or that don't go 16 bytes at a time.
template <typename T, int kVector>
cudaError_t LaunchPlainGrad(const KernelCall& c, const Rows<4>& rows, cudaStream_t stream) {
  using A = Accumulator<T>;
  const int64_t bytes = rows.length * static_cast<int64_t>(sizeof(A));
  const bool shared = bytes <= kMostPlainShared;
  const Chunks chunks = CutIntoChunks(rows.count());
  return LaunchKernelWith(shared ? static_cast<size_t>(bytes) : 0, RmsNormGradKernel<T, kVector>,
                          static_cast<unsigned>(chunks.count), kThreads, stream, rows,
                          SharedLine::Of(c.in[1]), chunks.rows, static_cast<A*>(c.scratch.partials),
                          shared);
}

cudaError_t RmsNorm(const KernelCall& c, cudaStream_t stream) {
  return Dispatch(c.in[0].dtype, [&](auto type) {
    return LaunchNorm<decltype(type)>(c, NormRows(c), Alone{}, stream);
  });
}

cudaError_t RmsNormGrad(const KernelCall& c, cudaStream_t stream) {
  const Rows<4> rows = GradRows(c);
  if (rows.length == 0) return cudaSuccess;
  return Dispatch(c.in[0].dtype, [&](auto type) {
    using T = decltype(type);
    constexpr int kVector = 16 / sizeof(T);
    const auto sum = [&](cudaError_t error, auto vector) {
      return error != cudaSuccess ? error : SumGains<T, vector.value>(c, rows, stream);
    };
    if (!rows.even) return sum(LaunchPlainGrad<T, 1>(c, rows, stream), Constant<1>{});
    return sum(rows.length <= kMostHeld * kThreads * kVector
                   ? LaunchStagedGrad<T>(c, rows, Alone{}, stream)
                   : LaunchPlainGrad<T, kVector>(c, rows, stream),
               Constant<kVector>{});
  });
}

}  // namespace

const Kernel kRmsNormKernel = {Action{"rms_norm"}, RmsNorm};
const Kernel kRmsNormGradKernel = {Action{"rms_norm_grad"}, RmsNormGrad, [](const KernelCall& c) {
                                     return ChunkScratch(CutIntoChunks(GradRows(c).count()),
                                                         GradRows(c).length, c.in[0].dtype);
                                   }};

}  // namespace tp::nccl
