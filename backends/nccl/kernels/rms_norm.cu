#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/columns.cuh"
#include "backends/nccl/kernels/functions.cuh"
#include "backends/nccl/kernels/rows.cuh"

namespace tp::nccl {
namespace {

// Lanes: x, r, y. Of lines of kHeld vectors a thread at most, a thread holds its own; others are
// read again.
template <typename T, int kVector, int kPerRow, int kHeld>
__global__ void __launch_bounds__(kThreads)
    RmsNormKernel(const __grid_constant__ Rows<3> rows, SharedLine gain, double eps) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  ForEachRow<kPerRow>(rows.places.count, [&](int64_t row, int thread) {
    int64_t at[3];
    rows.places.Find(row, at);
    const T* x = static_cast<const T*>(rows.data[0]) + at[0];
    T* y = static_cast<T*>(rows.data[2]) + at[2];
    Pack<T, kVector> held[kHeld] = {};
    A squares = 0;
    const auto load = [&](int64_t j) { return LoadPack<T, kVector>(x + j * rows.strides[0]); };
#pragma unroll
    for (int h = 0; h < kHeld; ++h) {
      const int64_t j = (thread + h * kPerRow) * kVector;
      if (j < rows.length) held[h] = load(j);
    }
    const auto add_squares = [&](const Pack<T, kVector>& part) {
#pragma unroll
      for (int k = 0; k < kVector; ++k) squares += Widen(part.at[k]) * Widen(part.at[k]);
    };
#pragma unroll
    for (int h = 0; h < kHeld; ++h) add_squares(held[h]);
    constexpr int64_t kAllHeld = int64_t{kHeld} * kPerRow * kVector;
    for (int64_t j = kAllHeld + thread * kVector; j < rows.length; j += kPerRow * kVector) {
      add_squares(load(j));
    }
    squares = OverRow<kPerRow>(squares, Plus{});
    const A r = Rsqrt(squares / static_cast<A>(rows.length) + static_cast<A>(eps));
    if (thread == 0) static_cast<A*>(rows.data[1])[at[1]] = r;
    const auto store = [&](int64_t j, const Pack<T, kVector>& part) {
      const auto by = LoadPack<T, kVector>(static_cast<const T*>(gain.data) + j * gain.stride);
      A out[kVector];
#pragma unroll
      for (int k = 0; k < kVector; ++k) out[k] = Widen(part.at[k]) * r * Widen(by.at[k]);
      StoreVector<T, kVector>(y + j * rows.strides[2], out);
    };
#pragma unroll
    for (int h = 0; h < kHeld; ++h) {
      const int64_t j = (thread + h * kPerRow) * kVector;
      if (j < rows.length) store(j, held[h]);
    }
    for (int64_t j = kAllHeld + thread * kVector; j < rows.length; j += kPerRow * kVector) {
      store(j, load(j));
    }
  });
}

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
      LoadVector<T, kVector>(x + j * rows.strides[0], rows.strides[0], of_x);
      LoadVector<T, kVector>(dy + j * rows.strides[2], rows.strides[2], of_dy);
      gain.Load<T, kVector>(j, of_gain);
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
      StoreVector<T, kVector>(dx + v * kVector * rows.strides[3], of_dy);
    }
  }
  if (!sums_are_shared) return;
  for (int64_t v = threadIdx.x; v < vectors; v += kThreads) {
    for (int k = 0; k < kVector; ++k) partial[k * vectors + v] = sums[k * vectors + v];
  }
}

// The same for lines of which a thread has kHeld vectors at most: it holds them,
// and its sums, while the next line is on its way.
template <typename T, int kVector, int kHeld>
__global__ void __launch_bounds__(kThreads)
    HeldRmsNormGradKernel(const __grid_constant__ Rows<4> rows, SharedLine gain,
                          int64_t rows_per_chunk, Accumulator<T>* partials) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  using P = Pack<T, kVector>;
  const int64_t n = rows.length, vectors = n / kVector;
  const int64_t begin = blockIdx.x * rows_per_chunk;
  const int64_t end = min(begin + rows_per_chunk, rows.places.count);
  P x[kHeld] = {}, dy[kHeld] = {}, by[kHeld] = {};
  A sums[kHeld][kVector] = {};
  int64_t at[4];
  const auto fetch = [&](const T* from, P(&to)[kHeld]) {
#pragma unroll
    for (int h = 0; h < kHeld; ++h) {
      const int64_t v = threadIdx.x + h * kThreads;
      if (v < vectors) to[h] = *reinterpret_cast<const P*>(from + v * kVector);
    }
  };
  const auto fetch_row = [&](int64_t row, A& r) {
    rows.places.Find(row, at);
    fetch(static_cast<const T*>(rows.data[0]) + at[0], x);
    fetch(static_cast<const T*>(rows.data[2]) + at[2], dy);
    r = static_cast<const A*>(rows.data[1])[at[1]];
  };
  fetch(static_cast<const T*>(gain.data), by);
  A next_r = 0;
  if (begin < end) fetch_row(begin, next_r);
  for (int64_t row = begin; row < end; ++row) {
    A of_x[kHeld][kVector], slope[kHeld][kVector];
    const A r = next_r;
    T* const dx = static_cast<T*>(rows.data[3]) + at[3];
    A sum = 0;
#pragma unroll
    for (int h = 0; h < kHeld; ++h) {
#pragma unroll
      for (int k = 0; k < kVector; ++k) {
        of_x[h][k] = Widen(x[h].at[k]);
        const A of_dy = Widen(dy[h].at[k]);
        sums[h][k] += of_dy * (of_x[h][k] * r);
        slope[h][k] = of_dy * Widen(by[h].at[k]);
        sum += slope[h][k] * of_x[h][k];
      }
    }
    if (row + 1 < end) fetch_row(row + 1, next_r);
    sum = OverRow<kThreads>(sum, Plus{});
    const A along = sum / static_cast<A>(n) * (r * r);
#pragma unroll
    for (int h = 0; h < kHeld; ++h) {
      const int64_t v = threadIdx.x + h * kThreads;
#pragma unroll
      for (int k = 0; k < kVector; ++k) slope[h][k] = r * (slope[h][k] - of_x[h][k] * along);
      if (v < vectors) StoreVector<T, kVector>(dx + v * kVector, slope[h]);
    }
  }
#pragma unroll
  for (int h = 0; h < kHeld; ++h) {
    const int64_t v = threadIdx.x + h * kThreads;
    if (v >= vectors) continue;
    for (int k = 0; k < kVector; ++k) partials[blockIdx.x * n + k * vectors + v] = sums[h][k];
  }
}

Rows<4> GradRows(const KernelCall& c) {
  return MakeRows<4>({RowView{c.in[0]}, {c.in[2], false}, {c.in[3]}, {c.out[0]}});
}

template <typename T, int kVector>
cudaError_t LaunchGrad(const KernelCall& c, const Rows<4>& rows, cudaStream_t stream) {
  using A = Accumulator<T>;
  const int64_t bytes = rows.length * static_cast<int64_t>(sizeof(A));
  const bool shared = bytes <= kMostPlainShared;
  const Chunks chunks = CutIntoChunks(rows.count());
  auto* partials = static_cast<A*>(c.scratch.partials);
  const auto sum_chunks = [&](cudaError_t error) {
    return error != cudaSuccess ? error
                                : SumChunks<T>(partials, chunks.count, rows.length, rows.length,
                                               kVector, c.out[1], stream);
  };
  if constexpr (kVector > 1) {
    const int64_t held = (rows.length / kVector + kThreads - 1) / kThreads;
    const auto launch = [&](auto most) {
      return sum_chunks(LaunchKernel(HeldRmsNormGradKernel<T, kVector, most.value>,
                                     static_cast<unsigned>(chunks.count), kThreads, stream, rows,
                                     SharedLine::Of(c.in[1]), chunks.rows, partials));
    };
    if (held <= 1) return launch(Constant<1>{});
    if (held <= 2) return launch(Constant<2>{});
    if (held <= 4) return launch(Constant<4>{});
  }
  return sum_chunks(LaunchKernelWith(shared ? static_cast<size_t>(bytes) : 0,
                                     RmsNormGradKernel<T, kVector>,
                                     static_cast<unsigned>(chunks.count), kThreads, stream, rows,
                                     SharedLine::Of(c.in[1]), chunks.rows, partials, shared));
}

cudaError_t RmsNorm(const KernelCall& c, cudaStream_t stream) {
  Rows<3> rows = MakeRows<3>({RowView{c.in[0]}, {c.out[1], false}, {c.out[0]}});
  rows.even = rows.even && SharedLine::IsEven(c.in[1]);
  if (rows.count() == 0) return cudaSuccess;
  return Dispatch(c.in[0].dtype, [&](auto type) {
    using T = decltype(type);
    const auto launch = [&](auto vector, auto per_row, auto held) {
      constexpr int kRows = kThreads / decltype(per_row)::value;
      const auto blocks = static_cast<unsigned>(
          std::min<int64_t>((rows.count() + kRows - 1) / kRows, int64_t{1} << 30));
      return LaunchKernel(RmsNormKernel<T, decltype(vector)::value, decltype(per_row)::value,
                                        decltype(held)::value>,
                          blocks, kThreads, stream, rows, SharedLine::Of(c.in[1]),
                          c.op.attributes.Number("eps"));
    };
    constexpr int kVector = 16 / sizeof(T);
    if (!rows.even) return launch(Constant<1>{}, Constant<kThreads>{}, Constant<4>{});
    if (rows.length <= 2 * kWarp * kVector) {
      return launch(Constant<kVector>{}, Constant<kWarp>{}, Constant<2>{});
    }
    if (rows.length <= 8 * kWarp * kVector) {
      return launch(Constant<kVector>{}, Constant<kWarp>{}, Constant<8>{});
    }
    return launch(Constant<kVector>{}, Constant<kThreads>{}, Constant<4>{});
  });
}

cudaError_t RmsNormGrad(const KernelCall& c, cudaStream_t stream) {
  const Rows<4> rows = GradRows(c);
  if (rows.length == 0) return cudaSuccess;
  return Dispatch(c.in[0].dtype, [&](auto type) {
    using T = decltype(type);
    return rows.even && SharedLine::IsEven(c.in[1]) ? LaunchGrad<T, 16 / sizeof(T)>(c, rows, stream)
                                                    : LaunchGrad<T, 1>(c, rows, stream);
  });
}

}  // namespace

const Kernel kRmsNormKernel = {Action{"rms_norm"}, RmsNorm};
const Kernel kRmsNormGradKernel = {Action{"rms_norm_grad"}, RmsNormGrad, [](const KernelCall& c) {
                                     return ChunkScratch(CutIntoChunks(GradRows(c).count()),
                                                         GradRows(c).length, c.in[0].dtype);
                                   }};

}  // namespace tp::nccl
