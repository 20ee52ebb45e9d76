#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/columns.cuh"
#include "backends/nccl/kernels/functions.cuh"
#include "backends/nccl/kernels/rows.cuh"

namespace tp::nccl {
namespace {

// Lanes: x, the mean, r, y.
template <typename T, int kVector, int kPerRow>
__global__ void __launch_bounds__(kThreads)
    LayerNormKernel(const __grid_constant__ Rows<4> rows, SharedLine gain, SharedLine bias,
                    double eps) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  ForEachRow<kPerRow>(rows.places.count, [&](int64_t row, int thread) {
    int64_t at[4];
    rows.places.Find(row, at);
    const T* x = static_cast<const T*>(rows.data[0]) + at[0];
    const auto sum = [&](const auto& term) {
      A total = 0;
      for (int64_t j = thread * kVector; j < rows.length; j += kPerRow * kVector) {
        A part[kVector];
        LoadVector<T, kVector>(x + j * rows.strides[0], rows.strides[0], part);
#pragma unroll
        for (int k = 0; k < kVector; ++k) total += term(part[k]);
      }
      return OverRow<kPerRow>(total, Plus{});
    };
    const A n = static_cast<A>(rows.length);
    const A mean = sum([](A of_x) { return of_x; }) / n;
    const A variance = sum([&](A of_x) { return (of_x - mean) * (of_x - mean); }) / n;
    const A r = Rsqrt(variance + static_cast<A>(eps));
    if (thread == 0) {
      static_cast<A*>(rows.data[1])[at[1]] = mean;
      static_cast<A*>(rows.data[2])[at[2]] = r;
    }
    T* y = static_cast<T*>(rows.data[3]) + at[3];
    for (int64_t j = thread * kVector; j < rows.length; j += kPerRow * kVector) {
      A part[kVector], by[kVector], plus[kVector];
      LoadVector<T, kVector>(x + j * rows.strides[0], rows.strides[0], part);
      gain.Load<T, kVector>(j, by);
      bias.Load<T, kVector>(j, plus);
#pragma unroll
      for (int k = 0; k < kVector; ++k) part[k] = (part[k] - mean) * r * by[k] + plus[k];
      StoreVector<T, kVector>(y + j * rows.strides[3], part);
    }
  });
}

// Lanes: x, the mean, r, dy, dx. As in rms_norm.cu; a partial is the sums for dgain, then those for
// dbias.
template <typename T, int kVector>
__global__ void __launch_bounds__(kThreads)
    LayerNormGradKernel(const __grid_constant__ Rows<5> rows, SharedLine gain,
                        int64_t rows_per_chunk, Accumulator<T>* partials, bool sums_are_shared) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  extern __shared__ __align__(16) unsigned char memory[];
  const int64_t n = rows.length, vectors = n / kVector;
  A* const partial = partials + blockIdx.x * 2 * n;
  A* const sums = sums_are_shared ? reinterpret_cast<A*>(memory) : partial;
  for (int64_t v = threadIdx.x; v < vectors; v += kThreads) {
    for (int k = 0; k < 2 * kVector; ++k) sums[k * vectors + v] = 0;
  }
  const int64_t begin = blockIdx.x * rows_per_chunk;
  const int64_t end = min(begin + rows_per_chunk, rows.places.count);
  for (int64_t row = begin; row < end; ++row) {
    int64_t at[5];
    rows.places.Find(row, at);
    const T* x = static_cast<const T*>(rows.data[0]) + at[0];
    const T* dy = static_cast<const T*>(rows.data[3]) + at[3];
    T* dx = static_cast<T*>(rows.data[4]) + at[4];
    const A shift = static_cast<const A*>(rows.data[1])[at[1]];
    const A r = static_cast<const A*>(rows.data[2])[at[2]];
    // of_x becomes (x - m) r, and of_gain gain dy.
    const auto load = [&](int64_t v, A* of_x, A* of_dy, A* of_gain) {
      const int64_t j = v * kVector;
      LoadVector<T, kVector>(x + j * rows.strides[0], rows.strides[0], of_x);
      LoadVector<T, kVector>(dy + j * rows.strides[3], rows.strides[3], of_dy);
      gain.Load<T, kVector>(j, of_gain);
#pragma unroll
      for (int k = 0; k < kVector; ++k) {
        of_x[k] = (of_x[k] - shift) * r;
        of_gain[k] *= of_dy[k];
      }
    };
    A mean = 0, along = 0;
    for (int64_t v = threadIdx.x; v < vectors; v += kThreads) {
      A of_x[kVector], of_dy[kVector], of_gain[kVector];
      load(v, of_x, of_dy, of_gain);
#pragma unroll
      for (int k = 0; k < kVector; ++k) {
        mean += of_gain[k];
        along += of_gain[k] * of_x[k];
      }
    }
    mean = OverRow<kThreads>(mean, Plus{}) / static_cast<A>(n);
    along = OverRow<kThreads>(along, Plus{}) / static_cast<A>(n);
    for (int64_t v = threadIdx.x; v < vectors; v += kThreads) {
      A of_x[kVector], of_dy[kVector], of_gain[kVector];
      load(v, of_x, of_dy, of_gain);
#pragma unroll
      for (int k = 0; k < kVector; ++k) {
        sums[k * vectors + v] += of_dy[k] * of_x[k];
        sums[n + k * vectors + v] += of_dy[k];
        of_gain[k] = r * (of_gain[k] - mean - of_x[k] * along);
      }
      StoreVector<T, kVector>(dx + v * kVector * rows.strides[4], of_gain);
    }
  }
  if (!sums_are_shared) return;
  for (int64_t v = threadIdx.x; v < vectors; v += kThreads) {
    for (int k = 0; k < 2 * kVector; ++k) partial[k * vectors + v] = sums[k * vectors + v];
  }
}

Rows<5> GradRows(const KernelCall& c) {
  return MakeRows<5>({RowView{c.in[0]}, {c.in[2], false}, {c.in[3], false}, {c.in[4]}, {c.out[0]}});
}

template <typename T, int kVector>
cudaError_t LaunchGrad(const KernelCall& c, const Rows<5>& rows, cudaStream_t stream) {
  using A = Accumulator<T>;
  const int64_t n = rows.length, bytes = 2 * n * static_cast<int64_t>(sizeof(A));
  const bool shared = bytes <= kMostPlainShared;
  const Chunks chunks = CutIntoChunks(rows.count());
  auto* partials = static_cast<A*>(c.scratch.partials);
  cudaError_t error =
      LaunchKernelWith(shared ? static_cast<size_t>(bytes) : 0, LayerNormGradKernel<T, kVector>,
                       static_cast<unsigned>(chunks.count), kThreads, stream, rows,
                       SharedLine::Of(c.in[1]), chunks.rows, partials, shared);
  for (int i = 0; i < 2 && error == cudaSuccess; ++i) {
    error = SumChunks<T>(partials + i * n, chunks.count, 2 * n, n, kVector, c.out[1 + i], stream);
  }
  return error;
}

cudaError_t LayerNorm(const KernelCall& c, cudaStream_t stream) {
  Rows<4> rows = MakeRows<4>({RowView{c.in[0]}, {c.out[1], false}, {c.out[2], false}, {c.out[0]}});
  rows.even = rows.even && SharedLine::IsEven(c.in[1]) && SharedLine::IsEven(c.in[2]);
  return Dispatch(c.in[0].dtype, [&](auto type) {
    using T = decltype(type);
    return DispatchRows<T>(rows, [&](auto per_row, auto vector, unsigned blocks) {
      return LaunchKernel(LayerNormKernel<T, vector.value, per_row.value>, blocks, kThreads, stream,
                          rows, SharedLine::Of(c.in[1]), SharedLine::Of(c.in[2]),
                          c.op.attributes.Number("eps"));
    });
  });
}

cudaError_t LayerNormGrad(const KernelCall& c, cudaStream_t stream) {
  const Rows<5> rows = GradRows(c);
  if (rows.length == 0) return cudaSuccess;
  return Dispatch(c.in[0].dtype, [&](auto type) {
    using T = decltype(type);
    return rows.even && SharedLine::IsEven(c.in[1]) ? LaunchGrad<T, 16 / sizeof(T)>(c, rows, stream)
                                                    : LaunchGrad<T, 1>(c, rows, stream);
  });
}

}  // namespace

const Kernel kLayerNormKernel = {Action{"layer_norm"}, LayerNorm};
const Kernel kLayerNormGradKernel = {
    Action{"layer_norm_grad"}, LayerNormGrad, [](const KernelCall& c) {
      const Rows<5> rows = GradRows(c);
      return ChunkScratch(CutIntoChunks(rows.count()), 2 * rows.length, c.in[0].dtype);
    }};

}  // namespace tp::nccl
