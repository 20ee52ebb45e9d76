#include "tp/data/batches.h"

#include <glog/logging.h>

#include <string>

#include "tp/core/random.h"

namespace tp {
namespace {

constexpr int kRounds = 8;
// Streams of random numbers: far from those of weights, which count from zero.
constexpr uint64_t kStreams = uint64_t{1} << 63;

RandomTensor Stream(uint64_t seed, uint64_t epoch, int use) {
  return RandomTensor(seed, kStreams + epoch * (kRounds + 1) + static_cast<uint64_t>(use));
}

}  // namespace

StatusOr<BatchOrder> BatchOrder::Create(int64_t tokens, int64_t sequence, uint64_t seed) {
  CHECK_GE(sequence, 1);
  if (tokens < sequence + 1) {
    return InvalidArgument("a text of " + std::to_string(tokens) + " tokens has no sequence of " +
                           std::to_string(sequence) +
                           " and the token behind it: take a longer text, or shorter sequences");
  }
  const int64_t whole = (tokens - 1) / sequence;
  // A window less than there could be leaves room to move the cuts.
  const int64_t windows = whole > 1 ? whole - 1 : 1;
  return BatchOrder(windows, sequence, tokens - 1 - windows * sequence, seed);
}

BatchOrder::BatchOrder(int64_t windows, int64_t sequence, int64_t spare, uint64_t seed)
    : windows_(windows), sequence_(sequence), spare_(spare), seed_(seed) {
  while ((int64_t{1} << (2 * half_bits_)) < windows) ++half_bits_;
}

int64_t BatchOrder::Begin(int64_t number) const {
  CHECK_GE(number, 0);
  const auto epoch = static_cast<uint64_t>(number / windows_);
  const int64_t first = Stream(seed_, epoch, kRounds).Bits(0) % (spare_ + 1);
  return first + Shuffled(epoch, number % windows_) * sequence_;
}

int64_t BatchOrder::Shuffled(uint64_t epoch, int64_t index) const {
  // It comes to an end: what is permuted again and again comes back to where it began, which is
  // within.
  do {
    index = static_cast<int64_t>(Permuted(epoch, static_cast<uint64_t>(index)));
  } while (index >= windows_);
  return index;
}

uint64_t BatchOrder::Permuted(uint64_t epoch, uint64_t index) const {
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  uint64_t left = index >> half_bits_, right = index & mask;
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t mixed = left ^ (Stream(seed_, epoch, round).Bits(right) & mask);
    left = right;
    right = mixed;
  }
  return left << half_bits_ | right;
}

}  // namespace tp
