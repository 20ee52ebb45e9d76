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
  const int blocks = HeldBlocks(held) - 1;
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
    const T* const x = static_cast<const T*>(rows.data[0]) + at[0];
    T* const y = static_cast<T*>(rows.data[2]) + at[2];
    const int64_t mine = VectorsOf<kVector, kPerRow>(thread, rows.length);
    const int64_t more = Around::kIsChain ? 0 : mine;  // not all of which it may hold
    const auto place = [&](int64_t h) { return (thread + h * kPerRow) * kVector; };
    const auto load = [&](int64_t h) {
      return LoadPack<T, kVector>(x + Along<kVector>(place(h), rows.strides[0]), h < mine);
    };
    Pack<T, kVector> held[kHeld];
    if constexpr (Around::kIsChain) {
      TakeTotal<T, kVector, kPerRow>(around, at[0], thread, mine, held);
    } else {
#pragma unroll
      for (int h = 0; h < kHeld; ++h) {
        held[h] = load(h);
        KeepPacked(held[h]);
      }
    }
    A squares = 0;
    const auto add_squares = [&](const Pack<T, kVector>& part) {
      const auto of_x = Widen(part);
#pragma unroll
      for (int k = 0; k < kVector; ++k) squares = Fma(of_x.at[k], of_x.at[k], squares);
    };
#pragma unroll
    for (int h = 0; h < kHeld; ++h) add_squares(held[h]);
    for (int64_t h = kHeld; h < more; ++h) add_squares(load(h));
    squares = OverRow<kPerRow>(squares, Plus{});
    const A r = Rsqrt(squares / static_cast<A>(rows.length) + static_cast<A>(eps));
    if (thread == 0) static_cast<A*>(rows.data[1])[at[1]] = r;
    const auto load_gain = [&](int64_t h) { return gain.Load<T, kVector>(place(h), h < mine); };
    const auto store = [&](int64_t h, const Pack<T, kVector>& part,
                           const Pack<T, kVector>& of_gain) {
      const auto of_x = Widen(part), by = Widen(of_gain);
      A out[kVector];
#pragma unroll
      for (int k = 0; k < kVector; ++k) out[k] = of_x.at[k] * r * by.at[k];
      if (h < mine) {
        StoreVector<T, kVector>(y + Along<kVector>(place(h), rows.strides[2]), out);
      }
    };
    Pack<T, kVector> by = load_gain(0);
#pragma unroll
    for (int h = 0; h < kHeld; ++h) {
      KeepPacked(held[h]);
      const auto next = load_gain(h + 1);  // on its way before the store, which it can't overtake
      store(h, held[h], by);
      by = next;
    }
    for (int64_t h = kHeld; h < more; ++h) store(h, load(h), load_gain(h));
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
  P by[kHeld];
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
  LoadHeld(gain, vectors, by);
  A next_r = begin < end ? load_r(begin) : A(0);
  for (int64_t row = begin; row < end; ++row) {
    int64_t at[4];
    rows.places.Find(row, at);
    const A r = next_r;
    next_r = load_r(row + 1);
    A sum = 0;
    lines.Await();
    ForEachHeld<kHeld>(vectors, [&](int h, int64_t) {
      const auto x = Widen(lines.Get(Number::kX, h)), of_gain = Widen(by[h]);
      const auto dy = Widen(TakeGradient<T>(around, at[0], h, lines));
#pragma unroll
      for (int k = 0; k < kVector; ++k) {
        sums[h][k] = Fma(dy.at[k], Mul(x.at[k], r), sums[h][k]);
        sum = Fma(Mul(dy.at[k], of_gain.at[k]), x.at[k], sum);
      }
    });
    sum = OverRow<kThreads>(sum, Plus{});
    const A along = sum / static_cast<A>(n) * (r * r);
    ForEachHeld<kHeld>(vectors, [&](int h, int64_t v) {
      const auto x = Widen(lines.Get(Number::kX, h)), of_gain = Widen(by[h]);
      const auto dy = Widen(lines.Get(Number::kDy, h));
      A dx[kVector];
#pragma unroll
      for (int k = 0; k < kVector; ++k) {
        dx[k] = Mul(r, Fma(-x.at[k], along, Mul(dy.at[k], of_gain.at[k])));
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
  return DispatchHeldRows<T>(rows, [&](auto vector, auto per_row, auto held, unsigned blocks) {
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
    return LaunchKernelWith(Lines::Bytes(), StagedRmsNormGradKernel<T, held.value, Around>,
                            static_cast<unsigned>(chunks.count), kThreads, stream, rows,
                            SharedLine::Of(c.in[1]), chunks.rows,
                            static_cast<Accumulator<T>*>(c.scratch.partials), around);
  });
}

// And those: dgain, of what the kernel before it left in the scratch memory.
template <typename T, int kVector>
cudaError_t SumGains(const KernelCall& c, const Rows<4>& rows, cudaStream_t stream) {
  return SumChunks<T, 1>(c.scratch.partials, CutIntoChunks(rows.count()).count, rows.length,
                         kVector, {c.out[1]}, stream);
}

}  // namespace tp::nccl
