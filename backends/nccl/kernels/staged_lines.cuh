// Lines on their way to a block that takes one row after the other, some rows ahead of the one it
// works on. A thread fetches what it will read itself, so it waits for nobody; and what is on its
// way takes no registers.
#pragma once

#include <algorithm>

#include "backends/nccl/kernels/async_copy.cuh"
#include "backends/nccl/kernels/rows.cuh"

namespace tp::nccl {

// Blocks of a staging kernel that a multiprocessor shall have at a time. A large GPU has three
// chunks of rows for each (CutIntoChunks).
constexpr int StagedBlocks(int held) { return held <= 2 ? 3 : 2; }

// Vectors of a line that a thread can have at most.
inline constexpr int64_t kMostHeld = 4;

// Calls launch(the vectors of a line of so many elements that a thread has, as a Constant).
template <typename T, typename Launch>
cudaError_t DispatchHeld(int64_t length, const Launch& launch) {
  const int64_t vectors = length / (16 / static_cast<int64_t>(sizeof(T)));
  if (vectors <= kThreads) return launch(Constant<1>{});
  if (vectors <= 2 * kThreads) return launch(Constant<2>{});
  return vectors <= kMostHeld * kThreads ? launch(Constant<kMostHeld>{}) : cudaErrorInvalidValue;
}

// Calls body(h, v) for each vector v of a line that this thread has.
template <int kHeld, typename Body>
__device__ inline void ForEachHeld(int64_t vectors, const Body& body) {
#pragma unroll
  for (int h = 0; h < kHeld; ++h) {
    const int64_t v = threadIdx.x + h * kThreads;
    if (v < vectors) body(h, v);
  }
}

// And loads those of a line that all rows share; zeros behind them.
template <typename T, int kVector, int kHeld>
__device__ inline void LoadHeld(const SharedLine& line, int64_t vectors,
                                Pack<T, kVector> (&held)[kHeld]) {
#pragma unroll
  for (int h = 0; h < kHeld; ++h) {
    const int64_t v = threadIdx.x + h * kThreads;
    held[h] = line.Load<T, kVector>(v * kVector, v < vectors);
  }
}

// kLines lines a row, of which a thread has kHeld vectors: numbers threadIdx.x + h kThreads. The
// kernel is launched with Bytes() of dynamic shared memory.
template <typename T, int kLines, int kHeld>
class StagedLines {
 public:
  static constexpr int kVector = 16 / sizeof(T);
  using P = Pack<T, kVector>;

 private:
  static constexpr int kRowBytes = kLines * kHeld * kThreads * 16;
  static constexpr int kRoom = (216 << 10) / StagedBlocks(kHeld);

 public:
  static constexpr int kRows = std::clamp(kRoom / kRowBytes, 1, 3);  // at a time

  // What a kernel is launched with: more than it takes, if a multiprocessor then still has as many
  // blocks as it shall, so that it has no more. While the kernel before runs, those where blocks
  // end first would take more, and others would be left with fewer.
  static int Bytes() {
    constexpr int kOther = 2 << 10;  // of a block: what CUDA keeps, and what is declared
    const int room = std::min(kRoom, SharedOfMultiprocessor() / StagedBlocks(kHeld) - kOther);
    return std::max(kRows * kRowBytes, room);
  }

  __device__ StagedLines(void* memory, int64_t vectors)
      : mine_(static_cast<P*>(memory) + threadIdx.x), vectors_(vectors) {}

  // The line `number` of the row that comes kRows after the one that was worked on before.
  __device__ void Fetch(int number, const T* line) {
    ForEachHeld<kHeld>(vectors_, [&](int h, int64_t v) {
      CopyChunk(mine_ + Place(number, h), line + v * kVector, true);
    });
  }
  // Ends a row's fetches, of which there may be none, and goes to the next row.
  __device__ void Next() {
    EndGroup();
    row_ = row_ + 1 == kRows ? 0 : row_ + 1;
  }
  // Until this row is there, for this thread.
  __device__ void Await() const { AwaitGroups<kRows - 1>(); }

  __device__ P Get(int number, int h) const {
    P pack = mine_[Place(number, h)];
    KeepPacked(pack);  // one access, not one an element
    return pack;
  }
  __device__ void Put(int number, int h, const P& pack) { mine_[Place(number, h)] = pack; }

 private:
  __device__ int Place(int number, int h) const {
    return ((row_ * kLines + number) * kHeld + h) * kThreads;
  }

  P* const mine_;
  const int64_t vectors_;
  int row_ = 0;
};

}  // namespace tp::nccl
