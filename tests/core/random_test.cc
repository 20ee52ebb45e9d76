#include "tp/core/random.h"

#include <Random123/philox.h>
#include <gtest/gtest.h>

#include <array>
#include <set>
#include <vector>

namespace tp {
namespace {

using Words4 = std::array<uint32_t, 4>;
using Words2 = std::array<uint32_t, 2>;

// Philox4x32-10 from the paper's description (Salmon et al., SC11, sections 3.3 and 3.4).
Words4 Philox(Words4 x, Words2 key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * x[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57} * x[2];
    x = {static_cast<uint32_t>(p1 >> 32) ^ x[1] ^ key[0], static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ x[3] ^ key[1], static_cast<uint32_t>(p0)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return x;
}

// The three vectors for philox4x32 with 10 rounds in Random123's tests/kat_vectors.
const struct {
  Words4 counter;
  Words2 key;
  Words4 answer;
} kKnownAnswers[] = {
    {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
    {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
     {0xffffffff, 0xffffffff},
     {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
     {0xa4093822, 0x299f31d0},
     {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
};

TEST(Philox, GivesThePublishedAnswers) {
  for (const auto& known : kKnownAnswers) {
    EXPECT_EQ(Philox(known.counter, known.key), known.answer);
    const r123::Philox4x32::ctr_type counter = {
        {known.counter[0], known.counter[1], known.counter[2], known.counter[3]}};
    const auto words = r123::Philox4x32()(counter, {{known.key[0], known.key[1]}});
    for (int i = 0; i < 4; ++i) EXPECT_EQ(words[i], known.answer[i]);
  }
}

TEST(RandomTensor, IsPhiloxOfSeedStreamAndIndex) {
  const RandomTensor zero(0, 0);
  for (uint64_t i = 0; i < 4; ++i) EXPECT_EQ(zero.Bits(i), kKnownAnswers[0].answer[i]);
  const uint64_t numbers[] = {0, 1, 5, 0xffffffff, 0x123456789abcdef0, ~uint64_t{0}};
  for (uint64_t seed : numbers) {
    for (uint64_t stream : numbers) {
      for (uint64_t index : numbers) {
        const uint64_t block = index / 4;
        const Words4 words =
            Philox({static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32),
                    static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)},
                   {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
        EXPECT_EQ(RandomTensor(seed, stream).Bits(index), words[index % 4]);
      }
    }
  }
}

TEST(RandomTensor, AnElementDoesNotDependOnWhatWasDrawnBefore) {
  const RandomTensor tensor(7, 3);
  std::vector<double> forward;
  for (uint64_t i = 0; i < 1000; ++i) forward.push_back(tensor.Uniform(i));
  for (uint64_t i = 1000; i-- > 0;) EXPECT_EQ(RandomTensor(7, 3).Uniform(i), forward[i]);
}

TEST(RandomTensor, SeedsAndStreamsDiffer) {
  std::set<std::vector<uint32_t>> starts;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    for (uint64_t stream = 0; stream < 20; ++stream) {
      const RandomTensor tensor(seed, stream);
      starts.insert({tensor.Bits(0), tensor.Bits(1), tensor.Bits(2)});
    }
  }
  EXPECT_EQ(starts.size(), 400u);
}

TEST(RandomTensor, UniformIsTheBitsScaledToMinusOneToOne) {
  const RandomTensor tensor(11, 0);
  for (uint64_t i = 0; i < 10000; ++i) {
    const double uniform = tensor.Uniform(i);
    EXPECT_GE(uniform, -1);
    EXPECT_LT(uniform, 1);
    EXPECT_EQ(uniform * 0x1p31, static_cast<int32_t>(tensor.Bits(i)));
  }
}

TEST(RandomTensor, FillsWithTheNumbersOfEachIndex) {
  const RandomTensor random(/*seed=*/5, /*stream=*/6);
  for (uint64_t first : {uint64_t{0}, uint64_t{3}, uint64_t{6}, (uint64_t{1} << 34) - 5}) {
    for (size_t count : {0, 1, 2, 3, 4, 5, 8, 11}) {
      std::vector<double> numbers(count);
      random.FillUniform(first, numbers);
      for (size_t i = 0; i < count; ++i) EXPECT_EQ(numbers[i], random.Uniform(first + i));
    }
  }
}

}  // namespace
}  // namespace tp
