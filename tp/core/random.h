// Counter-based random numbers: element i of a tensor is a pure function of (seed, stream, i).
//
// Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC11;
// Random123). Because i counts elements of the *global* tensor, a rank draws exactly the shard that
// it owns, and the weights are the same bits at every tp degree. No libm call takes part, so they
// are the same on every machine too.
#pragma once

#include <cstdint>
#include <span>

namespace tp {

class RandomTensor {
 public:
  // `stream` tells tensors of one seed apart.
  RandomTensor(uint64_t seed, uint64_t stream) : seed_(seed), stream_(stream) {}

  // Uniform in [-1, 1), a multiple of 2^-31.
  double Uniform(uint64_t index) const;

  // The 32 random bits behind it.
  uint32_t Bits(uint64_t index) const;

  // Uniform(first), Uniform(first + 1), ...; several times as fast.
  void FillUniform(uint64_t first, std::span<double> numbers) const;

 private:
  uint64_t seed_;
  uint64_t stream_;
};

}  // namespace tp
