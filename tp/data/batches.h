// BatchOrder: which part of a stream of tokens is which row of which training batch.
//
// An epoch cuts the stream into windows of `sequence` tokens, each with the one that follows it,
// and takes each window once, in an order of its own; where the cuts lie is drawn anew for each
// epoch. Row r of step s is window s * batch + r of all that are ever taken. So the order is a
// function of seed and step: a run that goes on at a step takes what it would have taken, and any
// number of ranks or of micro-batches takes the same rows.
//
// The order of an epoch is a permutation of [0, windows) that needs no memory: a Feistel network
// over the next power of four, whose numbers beyond the windows are permuted again until they are
// within (Luby & Rackoff, 1988; Black & Rogaway, "Ciphers with Arbitrary Finite Domains", 2002).
// Its random numbers are those of tp/core/random.h.
#pragma once

#include <cstdint>

#include "tp/core/status.h"

namespace tp {

class BatchOrder {
 public:
  // Of a stream of `tokens`. Errors: INVALID_ARGUMENT where there is not one window in it.
  static StatusOr<BatchOrder> Create(int64_t tokens, int64_t sequence, uint64_t seed);

  // Windows in an epoch: all but less than two, which the ends of the stream cost.
  int64_t windows() const { return windows_; }

  // Where window `number`, counted over all epochs, begins; it and the token behind it are in the
  // stream.
  int64_t Begin(int64_t number) const;

 private:
  BatchOrder(int64_t windows, int64_t sequence, int64_t spare, uint64_t seed);

  // A permutation of [0, windows).
  int64_t Shuffled(uint64_t epoch, int64_t index) const;
  uint64_t Permuted(uint64_t epoch, uint64_t index) const;

  int64_t windows_, sequence_;
  int64_t spare_;  // tokens that an epoch leaves out, in front and behind together
  uint64_t seed_;
  int half_bits_ = 1;  // of the network's numbers
};

}  // namespace tp
