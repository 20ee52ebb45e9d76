#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/columns.cuh"
#include "backends/nccl/kernels/functions.cuh"
#include "backends/nccl/kernels/rows.cuh"
#include "backends/nccl/kernels/staged_lines.cuh"

namespace tp::nccl {
namespace {

// Lanes: x, the mean, r, y. Of lines of kHeld vectors a thread at most, a thread holds its own;
// others are read again.
template <typename T, int kVector, int kPerRow, int kHeld>
__global__ void __launch_bounds__(kThreads, HeldBlocks(kHeld))
    LayerNormKernel(const __grid_constant__ Rows<4> rows, SharedLine gain, SharedLine bias,
                    double eps) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  ForEachRow<kPerRow>(rows.places.count, [&](int64_t row, int thread) {
    int64_t at[4];
    rows.places.Find(row, at);
    const T* const x = static_cast<const T*>(rows.data[0]) + at[0];
    T* const y = static_cast<T*>(rows.data[3]) + at[3];
    const int64_t mine = VectorsOf<kVector, kPerRow>(thread, rows.length);
    const auto place = [&](int64_t h) { return (thread + h * kPerRow) * kVector; };
    const auto load = [&](int64_t h) {
      return LoadPack<T, kVector>(x + Along<kVector>(place(h), rows.strides[0]), h < mine);
    };
    Pack<T, kVector> held[kHeld];
#pragma unroll
    for (int h = 0; h < kHeld; ++h) held[h] = load(h);
    const auto for_each = [&](const auto& body) {  // body(h, vector h of this thread's)
#pragma unroll
      for (int h = 0; h < kHeld; ++h) {
        KeepPacked(held[h]);
        body(h, held[h]);
      }
      for (int64_t h = kHeld; h < mine; ++h) body(h, load(h));
    };
    const auto sum = [&](const auto& term) {
      A total = 0;
      for_each([&](int64_t h, const Pack<T, kVector>& part) {
        const auto of_x = Widen(part);
        A of_part = 0;
#pragma unroll
        for (int k = 0; k < kVector; ++k) of_part += term(of_x.at[k]);
        if (h < mine) total += of_part;
      });
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
    // As in rms_norm.cuh, what a store needs is loaded before the one ahead of it.
    const auto load_gain = [&](int64_t h) { return gain.Load<T, kVector>(place(h), h < mine); };
    const auto load_bias = [&](int64_t h) { return bias.Load<T, kVector>(place(h), h < mine); };
    Pack<T, kVector> next_gain = load_gain(0), next_bias = load_bias(0);
    for_each([&](int64_t h, const Pack<T, kVector>& part) {
      const auto by = Widen(next_gain), plus = Widen(next_bias), of_x = Widen(part);
      next_gain = load_gain(h + 1);
      next_bias = load_bias(h + 1);
      A out[kVector];
#pragma unroll
      for (int k = 0; k < kVector; ++k) out[k] = (of_x.at[k] - mean) * r * by.at[k] + plus.at[k];
      if (h < mine) StoreVector<T, kVector>(y + Along<kVector>(place(h), rows.strides[3]), out);
    });
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
      LoadFromLine<T, kVector>(x, j, rows.strides[0], of_x);
      LoadFromLine<T, kVector>(dy, j, rows.strides[3], of_dy);
      const auto by = Widen(gain.Load<T, kVector>(j));
#pragma unroll
      for (int k = 0; k < kVector; ++k) {
        of_x[k] = (of_x[k] - shift) * r;
        of_gain[k] = by.at[k] * of_dy[k];
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
      StoreVector<T, kVector>(dx + Along<kVector>(v * kVector, rows.strides[4]), of_gain);
    }
  }
  if (!sums_are_shared) return;
  for (int64_t v = threadIdx.x; v < vectors; v += kThreads) {
    for (int k = 0; k < 2 * kVector; ++k) partial[k * vectors + v] = sums[k * vectors + v];
  }
}

// The same of lines of which a thread has kHeld vectors at most.
template <typename T, int kHeld>
__global__ void __launch_bounds__(kThreads, StagedBlocks(kHeld))
    StagedLayerNormGradKernel(const __grid_constant__ Rows<5> rows, SharedLine gain,
                              int64_t rows_per_chunk, Accumulator<T>* partials) {
  AwaitEarlierKernels();
  extern __shared__ __align__(16) unsigned char memory[];
  using A = Accumulator<T>;
  using Lines = StagedLines<T, 2, kHeld>;
  constexpr int kVector = Lines::kVector, kX = 0, kDy = 1;
  const int64_t n = rows.length, vectors = n / kVector;
  const int64_t begin = blockIdx.x * rows_per_chunk;
  const int64_t end = min(begin + rows_per_chunk, rows.places.count);
  Lines lines(memory, vectors);
  Pack<T, kVector> by[kHeld];
  A gain_sums[kHeld][kVector] = {}, bias_sums[kHeld][kVector] = {};
  const auto fetch = [&](int64_t row) {
    if (row < end) {
      int64_t at[5];
      rows.places.Find(row, at);
      lines.Fetch(kX, static_cast<const T*>(rows.data[0]) + at[0]);
      lines.Fetch(kDy, static_cast<const T*>(rows.data[3]) + at[3]);
    }
    lines.Next();
  };
  A next_shift = 0, next_r = 0;
  const auto load_numbers = [&](int64_t row) {
    if (row >= end) return;
    int64_t at[5];
    rows.places.Find(row, at);
    next_shift = static_cast<const A*>(rows.data[1])[at[1]];
    next_r = static_cast<const A*>(rows.data[2])[at[2]];
  };
#pragma unroll
  for (int i = 0; i < Lines::kRows; ++i) fetch(begin + i);
  LoadHeld(gain, vectors, by);
  load_numbers(begin);
  for (int64_t row = begin; row < end; ++row) {
    int64_t at[5];
    rows.places.Find(row, at);
    const A shift = next_shift, r = next_r;
    load_numbers(row + 1);
    // body(k, (x - m) r, dy, gain dy) for each element of vector h.
    const auto for_each = [&](int h, const auto& body) {
      if (kHeld > 1) KeepPacked(by[h]);  // widened ahead, it would leave too few registers
      const auto x = Widen(lines.Get(kX, h)), dy = Widen(lines.Get(kDy, h)), of_gain = Widen(by[h]);
#pragma unroll
      for (int k = 0; k < kVector; ++k) {
        body(k, (x.at[k] - shift) * r, dy.at[k], dy.at[k] * of_gain.at[k]);
      }
    };
    A means[2] = {0, 0};  // of gain dy, and of its product with x
    lines.Await();
    ForEachHeld<kHeld>(vectors, [&](int h, int64_t) {
      for_each(h, [&](int k, A of_x, A of_dy, A slope) {
        gain_sums[h][k] += of_dy * of_x;
        bias_sums[h][k] += of_dy;
        means[0] += slope;
        means[1] += slope * of_x;
      });
    });
    OverRow<kThreads>(means, Plus{});
    const A mean = means[0] / static_cast<A>(n), along = means[1] / static_cast<A>(n);
    ForEachHeld<kHeld>(vectors, [&](int h, int64_t v) {
      A dx[kVector];
      for_each(h, [&](int k, A of_x, A, A slope) { dx[k] = r * (slope - mean - of_x * along); });
      StoreVector<T, kVector>(static_cast<T*>(rows.data[4]) + at[4] + v * kVector, dx);
    });
    fetch(row + Lines::kRows);
  }
  A* const partial = partials + blockIdx.x * 2 * n;
  ForEachHeld<kHeld>(vectors, [&](int h, int64_t v) {
#pragma unroll
    for (int k = 0; k < kVector; ++k) {
      partial[k * vectors + v] = gain_sums[h][k];
      partial[n + k * vectors + v] = bias_sums[h][k];
    }
  });
}

Rows<5> GradRows(const KernelCall& c) {
  return MakeRows<5>({RowView{c.in[0]}, {c.in[2], false}, {c.in[3], false}, {c.in[4]}, {c.out[0]}});
}

// Of lines that a thread can't hold its part of, or that don't go 16 bytes at a time.
template <typename T, int kVector>
cudaError_t LaunchPlainGrad(const KernelCall& c, const Rows<5>& rows, cudaStream_t stream) {
  using A = Accumulator<T>;
  const int64_t bytes = 2 * rows.length * static_cast<int64_t>(sizeof(A));
  const bool shared = bytes <= kMostPlainShared;
  const Chunks chunks = CutIntoChunks(rows.count());
  return LaunchKernelWith(shared ? static_cast<size_t>(bytes) : 0, LayerNormGradKernel<T, kVector>,
                          static_cast<unsigned>(chunks.count), kThreads, stream, rows,
                          SharedLine::Of(c.in[1]), chunks.rows, static_cast<A*>(c.scratch.partials),
                          shared);
}

template <typename T>
cudaError_t LaunchStagedGrad(const KernelCall& c, const Rows<5>& rows, cudaStream_t stream) {
  const Chunks chunks = CutIntoChunks(rows.count());
  return DispatchHeld<T>(rows.length, [&](auto held) {
    return LaunchKernelWith(
        StagedLines<T, 2, held.value>::Bytes(), StagedLayerNormGradKernel<T, held.value>,
        static_cast<unsigned>(chunks.count), kThreads, stream, rows, SharedLine::Of(c.in[1]),
        chunks.rows, static_cast<Accumulator<T>*>(c.scratch.partials));
  });
}

cudaError_t LayerNorm(const KernelCall& c, cudaStream_t stream) {
  Rows<4> rows = MakeRows<4>({RowView{c.in[0]}, {c.out[1], false}, {c.out[2], false}, {c.out[0]}});
  rows.even = rows.even && SharedLine::IsEven(c.in[1]) && SharedLine::IsEven(c.in[2]);
  return Dispatch(c.in[0].dtype, [&](auto type) {
    using T = decltype(type);
    return DispatchHeldRows<T>(rows, [&](auto vector, auto per_row, auto held, unsigned blocks) {
      return LaunchKernel(LayerNormKernel<T, vector.value, per_row.value, held.value>, blocks,
                          kThreads, stream, rows, SharedLine::Of(c.in[1]), SharedLine::Of(c.in[2]),
                          c.op.attributes.Number("eps"));
    });
  });
}

cudaError_t LayerNormGrad(const KernelCall& c, cudaStream_t stream) {
  const Rows<5> rows = GradRows(c);
  const int64_t n = rows.length;
  if (n == 0) return cudaSuccess;
  return Dispatch(c.in[0].dtype, [&](auto type) {
    using T = decltype(type);
    const int vector = rows.even && SharedLine::IsEven(c.in[1]) ? 16 / sizeof(T) : 1;
    const cudaError_t error = vector == 1 ? LaunchPlainGrad<T, 1>(c, rows, stream)
                              : n <= kMostHeld * kThreads * vector
                                  ? LaunchStagedGrad<T>(c, rows, stream)
                                  : LaunchPlainGrad<T, 16 / sizeof(T)>(c, rows, stream);
    if (error != cudaSuccess) return error;
    return SumChunks<T, 2>(c.scratch.partials, CutIntoChunks(rows.count()).count, n, vector,
                           {c.out[1], c.out[2]}, stream);
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
