#include <cmath>
#include <numbers>

#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/walk.cuh"

namespace tp::nccl {
namespace {

constexpr int kMostPairs = 256;  // that one launch turns; the parameters of a kernel have room

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
  int64_t places;              // of the sequence
  int64_t begin;               // of this rank's part of it
  double turns;
  int64_t first;  // pair of this launch
  int pairs;      // of this launch
  int64_t half;   // of a head's pairs
  int64_t step;   // from one pair's first element to the next one's, in elements of a head
  int64_t apart;  // a pair's two elements, likewise
  bool odd;       // the last element is in no pair, and this launch copies it
};

// A block a token, so that the angles of its place are worked out once.
template <typename T, int kVector>
__global__ void __launch_bounds__(kThreads)
    RopeKernel(const __grid_constant__ Turn turn, const __grid_constant__ Frequencies frequencies) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  __shared__ A cosines[kMostPairs], sines[kMostPairs];
  for (int64_t token = blockIdx.x; token < turn.tokens.count; token += gridDim.x) {
    const auto place = static_cast<double>(turn.begin + token % turn.places);
    for (int i = threadIdx.x; i < turn.pairs; i += kThreads) {
      double sine, cosine;
      sincos(__dmul_rn(__dmul_rn(turn.turns, place), frequencies.of[i]), &sine, &cosine);
      cosines[i] = static_cast<A>(cosine);
      sines[i] = static_cast<A>(sine);
    }
    __syncthreads();
    int64_t at[2];
    turn.tokens.Find(token, at);
    const T* x = static_cast<const T*>(turn.x) + at[0];
    T* y = static_cast<T*>(turn.y) + at[1];
    const int vectors = turn.pairs / kVector;
    const int64_t all = turn.heads.count * vectors;
    for (int64_t t = threadIdx.x; t < all; t += kThreads) {
      const int i = static_cast<int>(t % vectors) * kVector;
      turn.heads.Find(t / vectors, at);
      const T* near = x + at[0] + (turn.first + i) * turn.step * turn.x_stride;
      T* to = y + at[1] + (turn.first + i) * turn.step * turn.y_stride;
      A first[kVector], second[kVector];
      LoadVector<T, kVector>(near, turn.x_stride, first);
      LoadVector<T, kVector>(near + turn.apart * turn.x_stride, turn.x_stride, second);
#pragma unroll
      for (int k = 0; k < kVector; ++k) {
        const A a = first[k], b = second[k];
        first[k] = a * cosines[i + k] - b * sines[i + k];
        second[k] = b * cosines[i + k] + a * sines[i + k];
      }
      StoreVector<T, kVector>(to, first);
      StoreVector<T, kVector>(to + turn.apart * turn.y_stride, second);
    }
    for (int64_t h = threadIdx.x; turn.odd && h < turn.heads.count; h += kThreads) {
      turn.heads.Find(h, at);
      y[at[1] + 2 * turn.half * turn.y_stride] = x[at[0] + 2 * turn.half * turn.x_stride];
    }
    __syncthreads();  // before the angles are overwritten
  }
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

cudaError_t Rope(const KernelCall& c, cudaStream_t stream) {
  if (c.out[0].empty()) return cudaSuccess;
  Turn turn = TurnOf(c);
  const int64_t size = c.in[0].Last().size;
  const bool even = turn.step == 1 && IsEven(turn, c);
  const auto blocks = static_cast<unsigned>(std::min<int64_t>(turn.tokens.count, int64_t{1} << 30));
  for (turn.first = 0; turn.first == 0 || turn.first < turn.half; turn.first += kMostPairs) {
    turn.pairs = static_cast<int>(std::min<int64_t>(turn.half - turn.first, kMostPairs));
    turn.odd = turn.first == 0 && size % 2 != 0;
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
