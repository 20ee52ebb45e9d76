#include <cmath>

#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/walk.cuh"
#include "tp/core/philox.h"

namespace tp::nccl {
namespace {

struct Dropping {
  const int32_t* seed;
  uint64_t stream;
  uint64_t threshold;  // what has fewer random bits is dropped
  uint64_t first;      // of this rank's part, its place in the whole tensor
  double factor;
};

// Lanes: x, out and the places in the whole tensor, which have strides and no memory. Vectors may
// be known to be whole blocks of random words.
template <typename T, int kVector, bool kInBlocks>
__global__ void __launch_bounds__(kThreads)
    DropoutKernel(const __grid_constant__ Walk<3> walk, Dropping dropping) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  const auto seed = static_cast<uint64_t>(static_cast<int64_t>(*dropping.seed));
  const A factor = static_cast<A>(dropping.factor);
  ForEachVector<kVector>(walk.lines.count, walk.length, [&](int64_t line, int64_t j) {
    int64_t at[3];
    walk.lines.Find(line, at);
    A x[kVector];
    LoadVector<T, kVector>(static_cast<const T*>(walk.data[0]) + at[0] + j * walk.strides[0],
                           walk.strides[0], x);
    uint64_t block = ~uint64_t{0};  // that `words` are of: neighbours share it
    PhiloxWords words;
    const auto first = dropping.first + static_cast<uint64_t>(at[2] + j * walk.strides[2]);
#pragma unroll
    for (int k = 0; k < kVector; ++k) {
      const uint64_t place = first + (kInBlocks ? k : static_cast<uint64_t>(k * walk.strides[2]));
      if (kInBlocks ? k % kPhiloxWords == 0 : place / kPhiloxWords != block) {
        block = place / kPhiloxWords;
        words = PhiloxBlock(seed, dropping.stream, block);
      }
      const unsigned word = (kInBlocks ? k : place) % kPhiloxWords;
      const uint32_t bits = word < 2 ? (word == 0 ? words[0] : words[1])  // no array in memory
                                     : (word == 2 ? words[2] : words[3]);
      x[k] = bits >= dropping.threshold ? x[k] * factor : A(0);
    }
    StoreVector<T, kVector>(static_cast<T*>(walk.data[1]) + at[1] + j * walk.strides[1], x);
  });
}

// The places in the whole tensor as a view of it, and that of the first.
DeviceView PlacesOf(const KernelCall& c, uint64_t& first) {
  DeviceView places = c.in[0];
  places.data = nullptr;
  first = 0;
  int64_t stride = 1;
  for (int d = places.dims.size() - 1; d >= 0; --d) {
    const LetterPart& part = c.op.PartOf(static_cast<char>('A' + d));
    first += static_cast<uint64_t>(part.begin * stride);
    places.dims[d].stride = stride;
    stride *= part.whole;
  }
  return places;
}

cudaError_t Dropout(const KernelCall& c, cudaStream_t stream) {
  const double rate = c.op.attributes.Number("rate");
  Dropping dropping = {static_cast<const int32_t*>(c.in[1].data),
                       static_cast<uint64_t>(c.op.attributes.Integer("stream")),
                       static_cast<uint64_t>(std::round(rate * 0x1p32)), 0, 1 / (1 - rate)};
  const DeviceView places = PlacesOf(c, dropping.first);
  const Walk<3> walk = MakeWalk<3>({c.in[0], c.out[0], places});
  if (walk.size() == 0) return cudaSuccess;
  return Dispatch(c.in[0].dtype, [&](auto type) {
    using T = decltype(type);
    constexpr int kVector = 16 / sizeof(T);
    const int64_t vectors = walk.even ? walk.size() / kVector : walk.size();
    auto kernel = walk.even ? DropoutKernel<T, kVector, false> : DropoutKernel<T, 1, false>;
    if constexpr (kVector % kPhiloxWords == 0) {
      const bool in_blocks =
          walk.even && walk.strides[2] == 1 && dropping.first % kPhiloxWords == 0;
      if (in_blocks) kernel = DropoutKernel<T, kVector, true>;
    }
    return LaunchKernel(kernel, BlocksFor(vectors, kMostWalkBlocks), kThreads, stream, walk,
                        dropping);
  });
}

}  // namespace

const Kernel kDropoutKernel = {Action{"dropout"}, Dropout};

}  // namespace tp::nccl
