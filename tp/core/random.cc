#include "tp/core/random.h"

#include <Random123/philox.h>

#include <array>

namespace tp {
namespace {

constexpr uint64_t kWords = 4;  // of a Philox block

double UniformOf(uint32_t bits) {
  return static_cast<double>(static_cast<int32_t>(bits)) * 0x1p-31;
}

std::array<uint32_t, kWords> BlockOf(uint64_t seed, uint64_t stream, uint64_t block) {
  const r123::Philox4x32::ctr_type counter = {
      {static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32),
       static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)}};
  const r123::Philox4x32::key_type key = {
      {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)}};
  const auto words = r123::Philox4x32()(counter, key);
  return {words[0], words[1], words[2], words[3]};
}

}  // namespace

// The index picks the block, then the word.
uint32_t RandomTensor::Bits(uint64_t index) const {
  return BlockOf(seed_, stream_, index / kWords)[index % kWords];
}

double RandomTensor::Uniform(uint64_t index) const { return UniformOf(Bits(index)); }

void RandomTensor::FillUniform(uint64_t first, std::span<double> numbers) const {
  const uint64_t count = numbers.size();
  uint64_t i = 0;
  for (; i < count && (first + i) % kWords != 0; ++i) numbers[i] = Uniform(first + i);
  for (; count - i >= kWords; i += kWords) {
    const auto words = BlockOf(seed_, stream_, (first + i) / kWords);
    for (uint64_t w = 0; w < kWords; ++w) numbers[i + w] = UniformOf(words[w]);
  }
  for (; i < count; ++i) numbers[i] = Uniform(first + i);
}

}  // namespace tp
