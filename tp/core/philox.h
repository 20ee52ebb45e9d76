// A block of Philox4x32-10, on CPUs and GPUs: the four words of 32 random bits that elements
// 4 block .. 4 block + 3 of a tensor have (tp/core/random.h).
#pragma once

#include <Random123/philox.h>

#include <cstdint>

namespace tp {

using PhiloxWords = r123::Philox4x32::ctr_type;
inline constexpr uint64_t kPhiloxWords = 4;

R123_CUDA_DEVICE inline PhiloxWords PhiloxBlock(uint64_t seed, uint64_t stream, uint64_t block) {
  const PhiloxWords counter = {{static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32),
                                static_cast<uint32_t>(stream),
                                static_cast<uint32_t>(stream >> 32)}};
  const r123::Philox4x32::key_type key = {
      {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)}};
  return r123::Philox4x32()(counter, key);
}

}  // namespace tp
