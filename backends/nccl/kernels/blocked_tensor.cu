// Products of the invariant sum order on tensor cores, for bf16 and fp16.
//
// In which order a tensor core adds up is not known; that it is the same wherever the same numbers
// lie in the same places is. So a sum is cut where the index of a term in the whole sum, and not in
// this rank's part of it, is a multiple of kChunk. A chunk across two blocks is taken twice, with
// zeros for the other's terms. Blocks are then added along the tree as everywhere.
//
// A block of threads makes a tile of c. Terms come by cp.async, kStages of kStageTerms at a time;
// of the sums that wait for their other half the newest is kept in registers.
#include <limits>

#include "backends/nccl/kernels/blocked.cuh"
#include "backends/nccl/kernels/blocked.h"
#include "backends/nccl/kernels/element.cuh"
#include "backends/nccl/kernels/launch_kernel.cuh"
#include "backends/nccl/kernels/mma.cuh"
#include "backends/nccl/kernels/sum_node.cuh"

namespace tp::nccl {
namespace {

constexpr int kChunk = 16;  // terms that a tensor core takes at a time
constexpr int kSlots = 4;   // chunks of a stage
constexpr int kStageTerms = kSlots * kChunk;
constexpr int kStages = 3;
constexpr int kPack = 8;  // elements of 16 bytes

// How an operand's rows of terms lie: along the terms or along the rows, in whole packs either way;
// or else.
enum class Lie { kAcross, kDown, kAnyhow };

// One operand's part of a tile, on its way to shared memory and from there to registers. Of a chunk
// of terms each thread brings one pack. A line in shared memory is a row's terms of a stage, or, of
// an operand that lies down, all rows of a term; a pack of it is at place p ^ (line % 8), as in
// mma.cuh. All of that is worked out once.
template <typename T, int kTile, Lie kLie>
class Operand {
 public:
  static constexpr bool kDown = kLie == Lie::kDown;
  static constexpr int kLineBytes = 2 * (kDown ? kTile : kStageTerms);
  static constexpr int kStageBytes = 2 * kTile * kStageTerms;

  // The operand's rows from `row` on; its columns are the terms. `lane_line` and `lane_pack`: where
  // this lane's 16 bytes of a fragment are, in lines and packs from its first one; `line` is the
  // warp's first row in the tile.
  __device__ Operand(const DeviceMatrix& m, int64_t row, uint32_t stages, int line, int lane_line,
                     int lane_pack)
      : terms_(static_cast<int>(m.columns)), stride_(m.column_stride), line_(line) {
    constexpr int kPacks = kDown ? kTile / kPack : 2;  // of a chunk's line
    const int to_line = threadIdx.x / kPacks, pack = threadIdx.x % kPacks;
    row += kDown ? pack * kPack : to_line;
    term_ = kDown ? to_line : pack * kPack;
    has_row_ = brings_ && row < m.rows;
    from_ = static_cast<const T*>(m.data) + row * m.row_stride + term_ * stride_;
    to_turn_ = pack ^ (to_line & 7);
    to_ = stages + to_line * kLineBytes + (kDown ? to_turn_ * 16 : 0);
    of_lane_ = stages + (lane_line + (kDown ? 0 : line)) * kLineBytes;
    lane_turn_ = lane_pack ^ (lane_line & 7);
  }

  // The chunk of terms from `begin` on, which may be before the first.
  __device__ void Load(int stage, int slot, int begin) const {
    const int term = begin + term_;
    const uint32_t to = to_ + stage * kStageBytes +
                        (kDown ? slot * kChunk * kLineBytes : ((slot * 2) ^ to_turn_) * 16);
    if constexpr (kLie != Lie::kAnyhow) {
      const bool there = has_row_ && term >= 0 && term < terms_;
      const T* const from = from_ + (kDown ? begin * stride_ : begin);
      if (kAllBring || brings_) CopyChunkTo(to, there ? from : from_, there);
    } else if (kAllBring || brings_) {
      Pack<T, kPack> pack;
#pragma unroll
      for (int j = 0; j < kPack; ++j) {
        const bool there = has_row_ && term + j >= 0 && term + j < terms_;
        pack.at[j] = there ? from_[(begin + j) * stride_] : T{};
      }
      StoreChunk(to, *reinterpret_cast<const uint4*>(&pack));
    }
  }

  // Number `i` of the warp's 16 rows of a chunk. What turns them on the way gets each lane its
  // terms, two and two.
  __device__ void Take(int stage, int slot, int i, Fragment& f) const {
    if constexpr (kDown) {
      LoadTurnedMatricesFrom(of_lane_ + stage * kStageBytes + slot * kChunk * kLineBytes +
                                 ((line_ / kPack + i * 2) ^ lane_turn_) * 16,
                             f);
    } else {
      LoadMatricesFrom(
          of_lane_ + stage * kStageBytes + i * 16 * kLineBytes + ((slot * 2) ^ lane_turn_) * 16, f);
    }
  }

 private:
  static constexpr int kBringing = kTile * kChunk / kPack;  // threads
  static constexpr bool kAllBring = kBringing >= kThreads;

  const int terms_;
  const int64_t stride_;
  const int line_;
  const bool brings_ = threadIdx.x < kBringing;
  int term_, to_turn_, lane_turn_;
  bool has_row_;
  const T* from_;
  uint32_t to_, of_lane_;
};

// The chunks of a node's terms, leaf after leaf.
class Chunks {
 public:
  __device__ Chunks(const SumWalk& walk, int node)
      : walk_(walk), leaf_(walk.first_leaf[node]), last_(walk.first_leaf[node + 1]) {
    Enter();
    SkipEnded();
  }
  __device__ bool AtEnd() const { return leaf_ == last_; }
  __device__ int begin() const { return begin_; }
  __device__ void Advance() {
    begin_ += kChunk;
    SkipEnded();
  }
  __device__ static int BeginOf(const SumWalk& walk, int leaf) {
    const int begin = static_cast<int>(walk.leaves[leaf].begin);
    return begin - ((begin + static_cast<int>(walk.first)) & (kChunk - 1));
  }

 private:
  __device__ void Enter() {
    begin_ = BeginOf(walk_, leaf_);
    end_ = static_cast<int>(walk_.leaves[leaf_].end);
  }
  __device__ void SkipEnded() {
    while (begin_ >= end_ && ++leaf_ < last_) Enter();
  }

  const SumWalk& walk_;
  int leaf_;
  const int last_;
  int begin_, end_;
};

// What this lane has of a chunk, of whose terms a block has [begin, end): zeros for the others.
class Terms {
 public:
  __device__ Terms(int begin, int end)
      : all_(begin <= 0 && end >= kChunk),
        low_(MaskOf(begin, end)),
        high_(MaskOf(begin - kChunk / 2, end - kChunk / 2)) {}
  __device__ bool all() const { return all_; }
  __device__ void KeepLeft(Fragment& f) const {
    f[0] &= low_;
    f[1] &= low_;
    f[2] &= high_;
    f[3] &= high_;
  }
  __device__ void KeepRight(Fragment& f) const {
    f[0] &= low_;
    f[1] &= high_;
    f[2] &= low_;
    f[3] &= high_;
  }

 private:
  __device__ static uint32_t MaskOf(int begin, int end) {
    const int term = threadIdx.x % 4 * 2;
    return (term >= begin && term < end ? 0xffffu : 0) |
           (term + 1 >= begin && term + 1 < end ? 0xffff0000u : 0);
  }
  const bool all_;
  const uint32_t low_, high_;
};

// What a warp has of node `node`, from c's `row` and `column` on.
template <typename T, int kDown, int kAcross>
__device__ inline void StoreSums(const Outputs& c, int node, int64_t row, int64_t column,
                                 const float (&sums)[kDown][kAcross][4]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < kDown; ++i) {
#pragma unroll
    for (int j = 0; j < kAcross; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int64_t at_row = row + i * 16 + lane / 4 + e / 2 * 8;
        const int64_t at_column = column + j * 8 + lane % 4 * 2 + e % 2;
        if (at_row >= c.like.rows || at_column >= c.like.columns) continue;
        if (c.like.dtype == DType::kFloat32) {
          StoreSum<float>(c, node, at_row, at_column, sums[i][j][e]);
        } else {
          StoreSum<T>(c, node, at_row, at_column, sums[i][j][e]);
        }
      }
    }
  }
}

// a [m, k] times the transpose of b [n, k]. Grid: (tiles, nodes).
template <typename T, int kTile, Lie kLieA, Lie kLieB>
__global__ void __launch_bounds__(kThreads, 1)
    TensorGemmKernel(const __grid_constant__ DeviceMatrix a, const __grid_constant__ DeviceMatrix b,
                     const __grid_constant__ Outputs c, int64_t tiles_across,
                     const __grid_constant__ SumWalk walk) {
  // Two warps down, four across.
  constexpr int kDown = kTile / 2 / 16, kAcross = kTile / 4 / 8;
  constexpr int kCount = kDown * kAcross * 4;
  extern __shared__ uint4 memory[];
  const uint32_t stages = SharedAddress(memory);
  const int64_t row = blockIdx.x / tiles_across * kTile, column = blockIdx.x % tiles_across * kTile;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int down = warp / 4 * kDown * 16, across = warp % 4 * kAcross * 8;
  const int node = blockIdx.y;
  using A = Operand<T, kTile, kLieA>;
  using B = Operand<T, kTile, kLieB>;
  // The four 8 x 8 matrices of a fragment: of the left operand those of the first terms come first,
  // of the right one those of the first rows.
  const int eighth = lane / 8, in_eighth = lane % 8;
  const A of_a(a, row, stages, down, in_eighth + (A::kDown ? eighth / 2 : eighth % 2) * 8,
               A::kDown ? eighth % 2 : eighth / 2);
  const B of_b(b, column, stages + kStages * A::kStageBytes, across,
               in_eighth + (B::kDown ? eighth % 2 : eighth / 2) * 8,
               B::kDown ? eighth / 2 : eighth % 2);

  AwaitEarlierKernels();
  Chunks next(walk, node);
  const auto load = [&](int stage) {
    for (int slot = 0; slot < kSlots && !next.AtEnd(); ++slot) {
      of_a.Load(stage, slot, next.begin());
      of_b.Load(stage, slot, next.begin());
      next.Advance();
    }
    EndGroup();
  };
  for (int stage = 0; stage < kStages - 1; ++stage) load(stage);
  int stage = 0, slot = 0;
  float sums[kDown][kAcross][4];
  SumNodeOnStack<kCount>(walk, node, &sums[0][0][0], [&](int leaf) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) (&sums[0][0][0])[i] = 0;
    const int from = static_cast<int>(walk.leaves[leaf].begin);
    const int end = static_cast<int>(walk.leaves[leaf].end);
    for (int begin = Chunks::BeginOf(walk, leaf); begin < end; begin += kChunk) {
      if (slot == 0) {
        AwaitGroups<kStages - 2>();
        __syncthreads();  // this stage is there, and all are done with the one before
        load(stage == 0 ? kStages - 1 : stage - 1);
      }
      Fragment left[kDown], right[kAcross / 2];
#pragma unroll
      for (int i = 0; i < kDown; ++i) of_a.Take(stage, slot, i, left[i]);
#pragma unroll
      for (int j = 0; j < kAcross / 2; ++j) of_b.Take(stage, slot, j, right[j]);
      const Terms terms(from - begin, end - begin);
      if (!terms.all()) {
#pragma unroll
        for (int i = 0; i < kDown; ++i) terms.KeepLeft(left[i]);
#pragma unroll
        for (int j = 0; j < kAcross / 2; ++j) terms.KeepRight(right[j]);
      }
#pragma unroll
      for (int i = 0; i < kDown; ++i) {
#pragma unroll
        for (int j = 0; j < kAcross; ++j) {
          MultiplyAdd<T>(left[i], right[j / 2][j % 2 * 2], right[j / 2][j % 2 * 2 + 1], sums[i][j]);
        }
      }
      if (++slot < kSlots) continue;
      slot = 0;
      stage = stage == kStages - 1 ? 0 : stage + 1;
    }
  });
  AwaitGroups<0>();
  StoreSums<T>(c, node, row + down, column + across, sums);
}

Lie LieOf(const DeviceMatrix& m, int64_t first) {
  if (reinterpret_cast<uintptr_t>(m.data) % (2 * kPack) != 0) return Lie::kAnyhow;
  const auto even = [](int64_t size) { return size % kPack == 0; };
  if (m.column_stride == 1 && even(m.row_stride) && even(m.columns) && even(first)) {
    return Lie::kAcross;
  }
  return m.row_stride == 1 && even(m.column_stride) && even(m.rows) ? Lie::kDown : Lie::kAnyhow;
}

template <typename T, int kTile, Lie kLieA, Lie kLieB>
cudaError_t Launch(const TurnedProduct& p, const SumWalk& walk, cudaStream_t stream) {
  constexpr auto kKernel = TensorGemmKernel<T, kTile, kLieA, kLieB>;
  constexpr int kBytes = 2 * kStages * kTile * kStageTerms * static_cast<int>(sizeof(T));
  const int64_t across = CeilDivide(p.c.like.columns, kTile);
  const dim3 blocks(static_cast<unsigned>(CeilDivide(p.c.like.rows, kTile) * across),
                    walk.num_nodes);
  return LaunchKernelWith(kBytes, kKernel, blocks, kThreads, stream, p.a, p.b, p.c, across, walk);
}

template <typename T, int kTile>
cudaError_t LaunchFor(const TurnedProduct& p, const SumWalk& walk, cudaStream_t stream) {
  const Lie a = LieOf(p.a, walk.first), b = LieOf(p.b, walk.first);
  if (a == Lie::kAnyhow || b == Lie::kAnyhow) {
    return Launch<T, kTile, Lie::kAnyhow, Lie::kAnyhow>(p, walk, stream);
  }
  if (a == Lie::kAcross) {
    return b == Lie::kAcross ? Launch<T, kTile, Lie::kAcross, Lie::kAcross>(p, walk, stream)
                             : Launch<T, kTile, Lie::kAcross, Lie::kDown>(p, walk, stream);
  }
  return b == Lie::kAcross ? Launch<T, kTile, Lie::kDown, Lie::kAcross>(p, walk, stream)
                           : Launch<T, kTile, Lie::kDown, Lie::kDown>(p, walk, stream);
}

}  // namespace

cudaError_t BlockedGemmOnTensorCores(const DeviceMatrix& a, const DeviceMatrix& b,
                                     const BlockedSum& sum, std::span<const DeviceMatrix> c,
                                     cudaStream_t stream) {
  if (c[0].empty()) return cudaSuccess;
  // Chunks are counted in 32 bits; of so long a sum no part of it takes tensor cores.
  if (sum.terms * sum.each > std::numeric_limits<int>::max() / 2) {
    return BlockedGemm(a, b, sum, c, stream);
  }
  const TurnedProduct p(a, b, c);
  const SumWalk walk = WalkBlocks(sum);
  constexpr int kLarge = 128, kSmall = 64;
  const int64_t tiles = CeilDivide(c[0].rows, kLarge) * CeilDivide(c[0].columns, kLarge);
  const bool few = tiles * walk.num_nodes < kFewTiles;
  const auto launch = [&](auto element) {
    using T = decltype(element);
    return few ? LaunchFor<T, kSmall>(p, walk, stream) : LaunchFor<T, kLarge>(p, walk, stream);
  };
  return a.dtype == DType::kFloat16 ? launch(__half{}) : launch(__nv_bfloat16{});
}

}  // namespace tp::nccl
