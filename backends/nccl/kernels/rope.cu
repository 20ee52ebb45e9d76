#include <cmath>
#include <numbers>

#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/walk.cuh"

namespace tp::nccl {
namespace {

constexpr int kMostPairs = 256;    // that one launch turns; the parameters of a kernel have room
constexpr int kMostAngles = 1024;  // that a block has at a time

// Angles a place of the sequence: worked out on the host, as the reference has them, to the bit.
struct Frequencies {
  double of[kMostPairs];
};

struct Turn {
  void* x;
  void* y;
  Places<2> tokens;  // b and s, s the faster; lanes: x, y
  Places<2> heads;
  int64_t x_stride, y_stride;  // along a head
  int64_t sequences;
  int64_t places;  // of a sequence
  int64_t begin;   // of this rank's part of it
  double turns;
  int64_t first;   // pair of this launch
  int pairs;       // of this launch
  int64_t half;    // of a head's pairs
  int64_t step;    // from one pair's first element to the next one's, in elements of a head
  int64_t apart;   // a pair's two elements, likewise
  bool odd;        // the last element is in no pair, and this launch copies it
  int together;    // places that a block takes, in
  int64_t beside;  // so many sequences, which share their angles
};

// What a block takes: of `tokens`, the places the faster.
struct Patch {
  __device__ explicit Patch(const Turn& turn) {
    const unsigned across =
        static_cast<unsigned>((turn.places + turn.together - 1) / turn.together);
    first_place = static_cast<int64_t>(blockIdx.x % across) * turn.together;
    first_sequence = static_cast<int64_t>(blockIdx.x / across) * turn.beside;
    places = static_cast<unsigned>(min(int64_t{turn.together}, turn.places - first_place));
    tokens = places * static_cast<unsigned>(min(turn.beside, turn.sequences - first_sequence));
  }
  // The patch's i-th, counted over all sequences.
  __device__ int64_t Token(const Turn& turn, unsigned i) const {
    return (first_sequence + i / places) * turn.places + first_place + i % places;
  }

  int64_t first_place, first_sequence;
  unsigned places, tokens;
};

// The last element of each head of these tokens.
template <typename T>
__device__ void CopyLast(const Turn& turn, const Patch& patch) {
  for (int64_t i = threadIdx.x; i < patch.tokens * turn.heads.count; i += kThreads) {
    int64_t at[2], head[2];
    turn.tokens.Find(patch.Token(turn, static_cast<unsigned>(i / turn.heads.count)), at);
    turn.heads.Find(i % turn.heads.count, head);
    static_cast<T*>(turn.y)[at[1] + head[1] + 2 * turn.half * turn.y_stride] =
        static_cast<const T*>(turn.x)[at[0] + head[0] + 2 * turn.half * turn.x_stride];
  }
}

// A block works out the angles of its places once, for all heads and sequences; what a thread turns
// first is on its way meanwhile.
template <typename T, int kVector>
__global__ void __launch_bounds__(kThreads)
    RopeKernel(const __grid_constant__ Turn turn, const __grid_constant__ Frequencies frequencies) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  __shared__ A cosines[kMostAngles], sines[kMostAngles];
  const Patch patch(turn);
  const unsigned pairs = turn.pairs, vectors = pairs / kVector;
  const unsigned of_token = static_cast<unsigned>(turn.heads.count) * vectors;
  const unsigned all = patch.tokens * of_token;
  const T* from = nullptr;
  T* to = nullptr;
  unsigned angle = 0;
  A first[kVector], second[kVector];
  const auto fetch = [&](unsigned t) {
    const unsigned token = t / of_token, of_head = t % of_token;
    const unsigned i = of_head % vectors * kVector;
    int64_t at[2], head[2];
    turn.tokens.Find(patch.Token(turn, token), at);
    turn.heads.Find(of_head / vectors, head);
    from = static_cast<const T*>(turn.x) + at[0] + head[0] +
           (turn.first + i) * turn.step * turn.x_stride;
    to = static_cast<T*>(turn.y) + at[1] + head[1] + (turn.first + i) * turn.step * turn.y_stride;
    angle = token % patch.places * pairs + i;
    LoadVector<T, kVector>(from, turn.x_stride, first);
    LoadVector<T, kVector>(from + turn.apart * turn.x_stride, turn.x_stride, second);
  };
  unsigned t = threadIdx.x;
  if (t < all) fetch(t);
  for (unsigned i = threadIdx.x; i < patch.places * pairs; i += kThreads) {
    const auto place = static_cast<double>(turn.begin + patch.first_place + i / pairs);
    double sine, cosine;
    sincos(__dmul_rn(__dmul_rn(turn.turns, place), frequencies.of[i % pairs]), &sine, &cosine);
    cosines[i] = static_cast<A>(cosine);
    sines[i] = static_cast<A>(sine);
  }
  __syncthreads();
  while (t < all) {
#pragma unroll
    for (int k = 0; k < kVector; ++k) {
      const A a = first[k], b = second[k];
      first[k] = a * cosines[angle + k] - b * sines[angle + k];
      second[k] = b * cosines[angle + k] + a * sines[angle + k];
    }
    StoreVector<T, kVector>(to, first);
    StoreVector<T, kVector>(to + turn.apart * turn.y_stride, second);
    t += kThreads;
    if (t < all) fetch(t);
  }
  if (turn.odd) CopyLast<T>(turn, patch);
}

bool IsEven(const Turn& turn, const KernelCall& c) {
  Places<2> all = turn.tokens;
  for (int d = 0; d < turn.heads.dims; ++d) {
    all.PushBack(turn.heads.sizes[d], {turn.heads.strides[d][0], turn.heads.strides[d][1]});
  }
  return LinesAreEven(all, 0, c.in[0], turn.x_stride, turn.half) &&
         LinesAreEven(all, 1, c.out[0], turn.y_stride, turn.half);
}

Turn TurnOf(const KernelCall& c) {
  const Dims &x = c.in[0].dims, &y = c.out[0].dims;
  Turn turn = {};
  turn.x = c.in[0].data;
  turn.y = c.out[0].data;
  for (int d = 0; d < 2; ++d) turn.tokens.PushBack(x[d].size, {x[d].stride, y[d].stride});
  DeviceView of_x{c.in[0].data, c.in[0].dtype}, of_y = of_x;
  for (int d = 2; d + 1 < x.size(); ++d) {
    of_x.dims.push_back(x[d]);
    of_y.dims.push_back(y[d]);
  }
  turn.heads = MakePlaces<2>({of_x, of_y});
  turn.x_stride = c.in[0].Last().stride;
  turn.y_stride = c.out[0].Last().stride;
  turn.sequences = x[0].size;
  turn.places = x[1].size;
  turn.begin = c.op.PartOf('s').begin;
  turn.turns = c.op.attributes.Number("turns");
  turn.half = c.in[0].Last().size / 2;
  const bool interleaved = c.op.attributes.Integer("interleaved") != 0;
  turn.step = interleaved ? 2 : 1;
  turn.apart = interleaved ? 1 : turn.half;
  return turn;
}

// How far a pair turns a place (tp/ops/rope.h).
double FrequencyOf(const Attributes& attributes, int64_t pair, int64_t size) {
  const double turn = std::pow(attributes.Number("base"),
                               -2.0 * static_cast<double>(pair) / static_cast<double>(size));
  const double slow = turn / attributes.Number("factor");
  const double original = attributes.Number("original");
  const double low = attributes.Number("low"), high = attributes.Number("high");
  const double within = original * turn / (2 * std::numbers::pi);
  if (original <= 0 || within < low) return slow;
  if (within > high) return turn;
  const double kept = (within - low) / (high - low);
  return (1 - kept) * slow + kept * turn;
}

// Says what a block takes, and how many blocks that makes: enough places to give each thread an
// angle, or something to turn if that takes more; and as many sequences as leave blocks for all
// multiprocessors, since each block works out its angles anew.
unsigned Divide(Turn& turn, int vectors) {
  constexpr int64_t kBlocks = 512;
  const int64_t of_place = turn.sequences * turn.heads.count * std::max(vectors, 1);
  const int pairs = std::max(turn.pairs, 1);
  turn.together = static_cast<int>(std::clamp<int64_t>(
      std::max(kThreads / of_place, int64_t{kThreads / pairs}), 1, kMostAngles / pairs));
  const int64_t across = (turn.places + turn.together - 1) / turn.together;
  const int64_t apart = std::clamp<int64_t>(kBlocks / across, 1, turn.sequences);
  turn.beside = (turn.sequences + apart - 1) / apart;
  const int64_t down = (turn.sequences + turn.beside - 1) / turn.beside;
  return static_cast<unsigned>(across * down);
}

cudaError_t Rope(const KernelCall& c, cudaStream_t stream) {
  if (c.out[0].empty()) return cudaSuccess;
  Turn turn = TurnOf(c);
  const int64_t size = c.in[0].Last().size;
  const bool even = turn.step == 1 && IsEven(turn, c);
  const int vector = even ? static_cast<int>(16 / SizeOf(c.in[0].dtype)) : 1;
  for (turn.first = 0; turn.first == 0 || turn.first < turn.half; turn.first += kMostPairs) {
    turn.pairs = static_cast<int>(std::min<int64_t>(turn.half - turn.first, kMostPairs));
    turn.odd = turn.first == 0 && size % 2 != 0;
    const unsigned blocks = Divide(turn, turn.pairs / vector);
    Frequencies frequencies = {};
    for (int i = 0; i < turn.pairs; ++i) {
      frequencies.of[i] = FrequencyOf(c.op.attributes, turn.first + i, size);
    }
    const cudaError_t error = Dispatch(c.in[0].dtype, [&](auto type) {
      using T = decltype(type);
      return even ? LaunchKernel(RopeKernel<T, 16 / sizeof(T)>, blocks, kThreads, stream, turn,
                                 frequencies)
                  : LaunchKernel(RopeKernel<T, 1>, blocks, kThreads, stream, turn, frequencies);
    });
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

}  // namespace

const Kernel kRopeKernel = {Action{"rope"}, Rope};

}  // namespace tp::nccl
