// The kernels of an RMS norm and of its gradient, alone or with a chain of ops around them.
#pragma once

#include <algorithm>
#include <cstdint>

#include "backends/nccl/kernels/columns.cuh"
#include "backends/nccl/kernels/functions.cuh"
#include "backends/nccl/kernels/kernel.h"
#include "backends/nccl/kernels/norm_chain.cuh"
#include "backends/nccl/kernels/rows.cuh"

namespace tp::nccl {

// Blocks that a multiprocessor shall have at a time; 0: as many as the compiler thinks best. A
// chain's registers let it have no fewer than a norm by itself has; of one that reads more at once,
// fewer do as well.
template <typename Around>
constexpr int NormBlocks(int held) {
  const int alone = held == 2 ? 4 : held == 4 ? 3 : 2;
  if (!Around::kIsChain) return 0;
  return Around::kMostBlocks > 2 ? (alone + 1) / 2 : alone;
}
// A large GPU has three chunks of a gradient for each multiprocessor (CutIntoChunks).
template <typename Around>
constexpr int GradBlocks(int held) {
  return !Around::kIsChain ? 0 : held == 1 ? 3 : held == 2 ? 2 : 1;
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
    const auto load = [&](int64_t j) { return LoadPack<T, kVector>(x + j * rows.strides[0]); };
    if constexpr (Around::kIsChain) {
      TakeTotal<T, kVector, kPerRow>(around, at[0], thread, rows.length, held);
    } else {
#pragma unroll
      for (int h = 0; h < kHeld; ++h) {
        const int64_t j = (thread + h * kPerRow) * kVector;
        if (j < rows.length) held[h] = load(j);
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
      const auto by = LoadPack<T, kVector>(static_cast<const T*>(gain.data) + j * gain.stride);
      A out[kVector];
#pragma unroll
      for (int k = 0; k < kVector; ++k) out[k] = Widen(part.at[k]) * r * Widen(by.at[k]);
      StoreVector<T, kVector>(y + j * rows.strides[2], out);
    };
#pragma unroll
    for (int h = 0; h < kHeld; ++h) {
      const int64_t j = (thread + h * kPerRow) * kVector;
      if constexpr (Around::kIsChain) KeepPacked(held[h]);
      if (j < rows.length) store(j, held[h]);
    }
    for (int64_t j = kAllHeld + thread * kVector; j < read_again; j += kPerRow * kVector) {
      store(j, load(j));
    }
  });
}

// The same for lines of which a thread has kHeld vectors at most: it holds them,
// and its sums, while the next line is on its way. A chain's dx is not stored where it has no data.
template <typename T, int kVector, int kHeld, typename Around>
__global__ void __launch_bounds__(kThreads, GradBlocks<Around>(kHeld))
    HeldRmsNormGradKernel(const __grid_constant__ Rows<4> rows, SharedLine gain,
                          int64_t rows_per_chunk, Accumulator<T>* partials, Around around) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  using P = Pack<T, kVector>;
  const int64_t n = rows.length, vectors = n / kVector;
  const int64_t begin = blockIdx.x * rows_per_chunk;
  const int64_t end = min(begin + rows_per_chunk, rows.places.count);
  P x[kHeld] = {}, by[kHeld] = {};
  GradientLine<T, kVector, kHeld, Around> dy;
  A sums[kHeld][kVector] = {};
  int64_t at[4];
  const auto fetch = [&](const T* from, P(&to)[kHeld]) {
#pragma unroll
    for (int h = 0; h < kHeld; ++h) {
      const int64_t v = threadIdx.x + h * kThreads;
      if (v < vectors) to[h] = LoadPack<T, kVector>(from + v * kVector);
      if constexpr (Around::kIsChain) KeepPacked(to[h]);
    }
  };
  const auto fetch_row = [&](int64_t row, A& r) {
    rows.places.Find(row, at);
    fetch(static_cast<const T*>(rows.data[0]) + at[0], x);
    dy.Fetch(around, static_cast<const T*>(rows.data[2]) + at[2], at[0], vectors);
    r = static_cast<const A*>(rows.data[1])[at[1]];
  };
  fetch(static_cast<const T*>(gain.data), by);
  A next_r = 0;
  if (begin < end) fetch_row(begin, next_r);
  for (int64_t row = begin; row < end; ++row) {
    A of_x[kHeld][kVector], slope[kHeld][kVector];
    const A r = next_r;
    const int64_t place = at[0];
    T* const dx = static_cast<T*>(rows.data[3]) + at[3];
    P added[kHeld];
    if constexpr (Around::kIsChain) {
      if (around.added != nullptr) fetch(static_cast<const T*>(around.added) + place, added);
    }
    A sum = 0;
#pragma unroll
    for (int h = 0; h < kHeld; ++h) {
      const P dy_part = dy.Take(around, place, h, vectors);
#pragma unroll
      for (int k = 0; k < kVector; ++k) {
        of_x[h][k] = Widen(x[h].at[k]);
        const A of_dy = Widen(dy_part.at[k]);
        sums[h][k] = Fma(of_dy, Mul(of_x[h][k], r), sums[h][k]);
        slope[h][k] = Mul(of_dy, Widen(by[h].at[k]));
        sum = Fma(slope[h][k], of_x[h][k], sum);
      }
    }
    if (row + 1 < end) fetch_row(row + 1, next_r);
    sum = OverRow<kThreads>(sum, Plus{});
    const A along = sum / static_cast<A>(n) * (r * r);
#pragma unroll
    for (int h = 0; h < kHeld; ++h) {
      const int64_t v = threadIdx.x + h * kThreads;
#pragma unroll
      for (int k = 0; k < kVector; ++k) slope[h][k] = Mul(r, Fma(-of_x[h][k], along, slope[h][k]));
      if (v >= vectors) continue;
      const P out = RoundPack<T, kVector>(slope[h]);
      if (!Around::kIsChain || rows.data[3] != nullptr) StorePack(dx, v * kVector, out);
      if constexpr (Around::kIsChain) {
        if (around.added == nullptr) continue;
        StorePack(around.total, place + v * kVector, AddPacks(added[h], out));
      }
    }
  }
#pragma unroll
  for (int h = 0; h < kHeld; ++h) {
    const int64_t v = threadIdx.x + h * kThreads;
    if (v >= vectors) continue;
    for (int k = 0; k < kVector; ++k) partials[blockIdx.x * n + k * vectors + v] = sums[h][k];
  }
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
  if (rows.count() == 0) return cudaSuccess;
  const auto launch = [&](auto vector, auto per_row, auto held) {
    constexpr int kRows = kThreads / decltype(per_row)::value;
    const auto blocks = static_cast<unsigned>(
        std::min<int64_t>((rows.count() + kRows - 1) / kRows, int64_t{1} << 30));
    return LaunchKernel(RmsNormKernel<T, decltype(vector)::value, decltype(per_row)::value,
                                      decltype(held)::value, Around>,
                        blocks, kThreads, stream, rows, SharedLine::Of(c.in[1]),
                        c.op.attributes.Number("eps"), around);
  };
  constexpr int kVector = 16 / sizeof(T);
  if constexpr (!Around::kIsChain) {
    if (!rows.even) return launch(Constant<1>{}, Constant<kThreads>{}, Constant<4>{});
  }
  if (rows.length <= 2 * kWarp * kVector) {
    return launch(Constant<kVector>{}, Constant<kWarp>{}, Constant<2>{});
  }
  if (rows.length <= 8 * kWarp * kVector) {
    return launch(Constant<kVector>{}, Constant<kWarp>{}, Constant<8>{});
  }
  return launch(Constant<kVector>{}, Constant<kThreads>{}, Constant<4>{});
}

// Vectors of a line that a thread can hold at most.
inline constexpr int64_t kMostHeld = 4;

// Enqueues the gradient of call `c`, but for the sums over chunks. The rows, which are given, are
// even, and have kMostHeld vectors a thread at most.
template <typename T, typename Around>
cudaError_t LaunchHeldGrad(const KernelCall& c, const Rows<4>& rows, const Around& around,
                           cudaStream_t stream) {
  constexpr int kVector = 16 / sizeof(T);
  const Chunks chunks = CutIntoChunks(rows.count());
  const auto launch = [&](auto most) {
    return LaunchKernel(HeldRmsNormGradKernel<T, kVector, most.value, Around>,
                        static_cast<unsigned>(chunks.count), kThreads, stream, rows,
                        SharedLine::Of(c.in[1]), chunks.rows,
                        static_cast<Accumulator<T>*>(c.scratch.partials), around);
  };
  const int64_t held = (rows.length / kVector + kThreads - 1) / kThreads;
  if (held <= 1) return launch(Constant<1>{});
  if (held <= 2) return launch(Constant<2>{});
  return launch(Constant<kMostHeld>{});
}

// And those: dgain, of what the kernel before it left in the scratch memory.
template <typename T, int kVector>
cudaError_t SumGains(const KernelCall& c, const Rows<4>& rows, cudaStream_t stream) {
  return SumChunks<T>(static_cast<const Accumulator<T>*>(c.scratch.partials),
                      CutIntoChunks(rows.count()).count, rows.length, rows.length, kVector,
                      c.out[1], stream);
}

}  // namespace tp::nccl
