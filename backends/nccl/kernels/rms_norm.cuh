// The kernels of an RMS norm and of its gradient, alone or with a chain of ops around them.
#pragma once

#include <algorithm>
#include <cstdint>

#include "backends/nccl/kernels/columns.cuh"
#include "backends/nccl/kernels/functions.cuh"
#include "backends/nccl/kernels/kernel.h"
#include "backends/nccl/kernels/norm_chain.cuh"
#include "backends/nccl/kernels/rows.cuh"
#include "backends/nccl/kernels/staged_lines.cuh"

namespace tp::nccl {

// Of a chain that reads more at once, fewer do as well.
template <typename Around>
constexpr int NormBlocks(int held) {
  if (!Around::kIsChain) return HeldBlocks(held);
  const int blocks = held == 2 ? 4 : HeldBlocks(held) - 1;
  return Around::kMostBlocks > 2 ? (blocks + 1) / 2 : blocks;
}

// Lanes: x, r, y. Of lines of kHeld vectors a thread at most, a thread holds its own; others are
// read again: but none of a chain's.
template <typename T, int kVector, int kPerRow, int kHeld, typename Around>
__global__ void __launch_bounds__(kThreads, NormBlocks<Around>(kHeld))
    RmsNormKernel(const __grid_constant__ Rows<3> rows, SharedLine gain, double eps,
                  Around around) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  ForEachRow<kPerRow>(rows.places.count, [&](int64_t row, int thread) {
    int64_t at[3];
    rows.places.Find(row, at);
    const T* x = static_cast<const T*>(rows.data[0]) + at[0];
    T* y = static_cast<T*>(rows.data[2]) + at[2];
    Pack<T, kVector> held[kHeld] = {};
    A squares = 0;
    const auto load = [&](int64_t j) {
      return LoadPack<T, kVector>(x + Along<kVector>(j, rows.strides[0]));
    };
    if constexpr (Around::kIsChain) {
      TakeTotal<T, kVector, kPerRow>(around, at[0], thread, rows.length, held);
    } else {
#pragma unroll
      for (int h = 0; h < kHeld; ++h) {
        const int64_t j = (thread + h * kPerRow) * kVector;
        if (j < rows.length) held[h] = load(j);
        KeepPacked(held[h]);
      }
    }
    const auto add_squares = [&](const Pack<T, kVector>& part) {
#pragma unroll
      for (int k = 0; k < kVector; ++k)
        squares = Fma(Widen(part.at[k]), Widen(part.at[k]), squares);
    };
#pragma unroll
    for (int h = 0; h < kHeld; ++h) add_squares(held[h]);
    constexpr int64_t kAllHeld = int64_t{kHeld} * kPerRow * kVector;
    const int64_t read_again = Around::kIsChain ? 0 : rows.length;  // what lies before this
    for (int64_t j = kAllHeld + thread * kVector; j < read_again; j += kPerRow * kVector) {
      add_squares(load(j));
    }
    squares = OverRow<kPerRow>(squares, Plus{});
    const A r = Rsqrt(squares / static_cast<A>(rows.length) + static_cast<A>(eps));
    if (thread == 0) static_cast<A*>(rows.data[1])[at[1]] = r;
    const auto store = [&](int64_t j, const Pack<T, kVector>& part) {
      const auto by =
          LoadPack<T, kVector>(static_cast<const T*>(gain.data) + Along<kVector>(j, gain.stride));
      A out[kVector];
#pragma unroll
      for (int k = 0; k < kVector; ++k) out[k] = Widen(part.at[k]) * r * Widen(by.at[k]);
      StoreVector<T, kVector>(y + Along<kVector>(j, rows.strides[2]), out);
    };
#pragma unroll
    for (int h = 0; h < kHeld; ++h) {
      const int64_t j = (thread + h * kPerRow) * kVector;
      KeepPacked(held[h]);
      if (j < rows.length) store(j, held[h]);
    }
    for (int64_t j = kAllHeld + thread * kVector; j < read_again; j += kPerRow * kVector) {
      store(j, load(j));
    }
  });
}

// The gradient of lines of which a thread has kHeld vectors at most; it keeps their columns' sums.
// A chain's dx is not stored where it has no data.
template <typename T, int kHeld, typename Around>
__global__ void __launch_bounds__(kThreads, StagedBlocks(kHeld))
    StagedRmsNormGradKernel(const __grid_constant__ Rows<4> rows, SharedLine gain,
                            int64_t rows_per_chunk, Accumulator<T>* partials, Around around) {
  AwaitEarlierKernels();
  extern __shared__ __align__(16) unsigned char memory[];
  using A = Accumulator<T>;
  using Number = GradientLines<Around>;
  using Lines = StagedLines<T, Number::kCount, kHeld>;
  constexpr int kVector = Lines::kVector;
  using P = Pack<T, kVector>;
  const int64_t n = rows.length, vectors = n / kVector;
  const int64_t begin = blockIdx.x * rows_per_chunk;
  const int64_t end = min(begin + rows_per_chunk, rows.places.count);
  Lines lines(memory, vectors);
  P by[kHeld] = {};
  A sums[kHeld][kVector] = {};
  const auto fetch = [&](int64_t row) {
    if (row < end) {
      int64_t at[4];
      rows.places.Find(row, at);
      lines.Fetch(Number::kX, static_cast<const T*>(rows.data[0]) + at[0]);
      FetchGradient<T>(around, static_cast<const T*>(rows.data[2]) + at[2], at[0], lines);
    }
    lines.Next();
  };
  const auto load_r = [&](int64_t row) {
    int64_t at[4];
    rows.places.Find(min(row, end - 1), at);
    return static_cast<const A*>(rows.data[1])[at[1]];
  };
#pragma unroll
  for (int i = 0; i < Lines::kRows; ++i) fetch(begin + i);
  ForEachHeld<kHeld>(vectors, [&](int h, int64_t v) {
    by[h] = LoadPacked<T, kVector>(static_cast<const T*>(gain.data) + v * kVector);
  });
  A next_r = begin < end ? load_r(begin) : A(0);
  for (int64_t row = begin; row < end; ++row) {
    int64_t at[4];
    rows.places.Find(row, at);
    const A r = next_r;
    next_r = load_r(row + 1);
    A sum = 0;
    lines.Await();
    ForEachHeld<kHeld>(vectors, [&](int h, int64_t) {
      const P x = lines.Get(Number::kX, h), dy = TakeGradient<T>(around, at[0], h, lines);
#pragma unroll
      for (int k = 0; k < kVector; ++k) {
        const A of_x = Widen(x.at[k]), of_dy = Widen(dy.at[k]);
        sums[h][k] = Fma(of_dy, Mul(of_x, r), sums[h][k]);
        sum = Fma(Mul(of_dy, Widen(by[h].at[k])), of_x, sum);
      }
    });
    sum = OverRow<kThreads>(sum, Plus{});
    const A along = sum / static_cast<A>(n) * (r * r);
    ForEachHeld<kHeld>(vectors, [&](int h, int64_t v) {
      const P x = lines.Get(Number::kX, h), dy = lines.Get(Number::kDy, h);
      A dx[kVector];
#pragma unroll
      for (int k = 0; k < kVector; ++k) {
        const A slope = Mul(Widen(dy.at[k]), Widen(by[h].at[k]));
        dx[k] = Mul(r, Fma(-Widen(x.at[k]), along, slope));
      }
      const P out = RoundPack<T, kVector>(dx);
      if (!Around::kIsChain || rows.data[3] != nullptr) {
        StorePack(rows.data[3], at[3] + v * kVector, out);
      }
      if constexpr (Around::kIsChain) {
        if (around.added == nullptr) return;
        StorePack(around.total, at[0] + v * kVector, AddPacks(lines.Get(Number::kAdded, h), out));
      }
    });
    fetch(row + Lines::kRows);
  }
  ForEachHeld<kHeld>(vectors, [&](int h, int64_t v) {
#pragma unroll
    for (int k = 0; k < kVector; ++k) partials[blockIdx.x * n + k * vectors + v] = sums[h][k];
  });
}

inline Rows<3> NormRows(const KernelCall& c) {
  Rows<3> rows = MakeRows<3>({RowView{c.in[0]}, {c.out[1], false}, {c.out[0]}});
  rows.even = rows.even && SharedLine::IsEven(c.in[1]);
  return rows;
}
inline Rows<4> GradRows(const KernelCall& c) {
  Rows<4> rows = MakeRows<4>({RowView{c.in[0]}, {c.in[2], false}, {c.in[3]}, {c.out[0]}});
  rows.even = rows.even && SharedLine::IsEven(c.in[1]);
  return rows;
}

// Enqueues the norm of call `c`, whose rows are given. A chain's are even, and short.
template <typename T, typename Around>
cudaError_t LaunchNorm(const KernelCall& c, const Rows<3>& rows, const Around& around,
                       cudaStream_t stream) {
  return DispatchHeldRows<T, 8>(rows, [&](auto vector, auto per_row, auto held, unsigned blocks) {
    if constexpr (Around::kIsChain && vector.value == 1) {
      return cudaErrorInvalidValue;
    } else {
      return LaunchKernel(RmsNormKernel<T, vector.value, per_row.value, held.value, Around>, blocks,
                          kThreads, stream, rows, SharedLine::Of(c.in[1]),
                          c.op.attributes.Number("eps"), around);
    }
  });
}

// Enqueues the gradient of call `c`, but for the sums over chunks. The rows, which are given, are
// even, and have kMostHeld vectors a thread at most.
template <typename T, typename Around>
cudaError_t LaunchStagedGrad(const KernelCall& c, const Rows<4>& rows, const Around& around,
                             cudaStream_t stream) {
  const Chunks chunks = CutIntoChunks(rows.count());
  return DispatchHeld<T>(rows.length, [&](auto held) {
    using Lines = StagedLines<T, GradientLines<Around>::kCount, held.value>;
    return LaunchKernelWith(Lines::kBytes, StagedRmsNormGradKernel<T, held.value, Around>,
                            static_cast<unsigned>(chunks.count), kThreads, stream, rows,
                            SharedLine::Of(c.in[1]), chunks.rows,
                            static_cast<Accumulator<T>*>(c.scratch.partials), around);
  });
}

// And those: dgain, of what the kernel before it left in the scratch memory.
template <typename T, int kVector>
cudaError_t SumGains(const KernelCall& c, const Rows<4>& rows, cudaStream_t stream) {
  return SumChunks<T>(static_cast<const Accumulator<T>*>(c.scratch.partials),
                      CutIntoChunks(rows.count()).count, rows.length, rows.length, kVector,
                      c.out[1], stream);
}

}  // namespace tp::nccl
