#include "tp/core/random.h"

#include <Random123/philox.h>

namespace tp {

uint32_t RandomTensor::Bits(uint64_t index) const {
  // One Philox block gives four words: the index picks the block, then the word.
  const uint64_t block = index / 4;
  const r123::Philox4x32::ctr_type counter = {
      {static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32),
       static_cast<uint32_t>(stream_), static_cast<uint32_t>(stream_ >> 32)}};
  const r123::Philox4x32::key_type key = {
      {static_cast<uint32_t>(seed_), static_cast<uint32_t>(seed_ >> 32)}};
  return r123::Philox4x32()(counter, key)[index % 4];
}

double RandomTensor::Uniform(uint64_t index) const {
  return static_cast<double>(static_cast<int32_t>(Bits(index))) * 0x1p-31;
}

}  // namespace tp
