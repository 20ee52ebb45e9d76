#include "tp/core/random.h"

#include "tp/core/philox.h"

namespace tp {
namespace {

double UniformOf(uint32_t bits) {
  return static_cast<double>(static_cast<int32_t>(bits)) * 0x1p-31;
}

}  // namespace

// The index picks the block, then the word.
uint32_t RandomTensor::Bits(uint64_t index) const {
  return PhiloxBlock(seed_, stream_, index / kPhiloxWords)[index % kPhiloxWords];
}

double RandomTensor::Uniform(uint64_t index) const { return UniformOf(Bits(index)); }

void RandomTensor::FillUniform(uint64_t first, std::span<double> numbers) const {
  const uint64_t count = numbers.size();
  uint64_t i = 0;
  for (; i < count && (first + i) % kPhiloxWords != 0; ++i) numbers[i] = Uniform(first + i);
  for (; count - i >= kPhiloxWords; i += kPhiloxWords) {
    const auto words = PhiloxBlock(seed_, stream_, (first + i) / kPhiloxWords);
    for (uint64_t w = 0; w < kPhiloxWords; ++w) numbers[i + w] = UniformOf(words[w]);
  }
  for (; i < count; ++i) numbers[i] = Uniform(first + i);
}

}  // namespace tp
