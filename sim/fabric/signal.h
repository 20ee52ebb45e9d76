// Signal: a number that only grows, on which agents wait. Everything in the simulator that blocks
// is built on it: stream events, mailboxes, joins.
//
// Raising and awaiting go through a Scheduler. A raise releases what its agent wrote before it, and
// reading the value acquires it. A Signal may be destroyed once the agent that awaited it knows
// that nobody raises it any more; a raise does not touch it after the new value is visible.
#pragma once

#include <atomic>
#include <cstdint>

namespace tp::sim {

class Signal {
 public:
  uint64_t value() const { return value_.load(std::memory_order_seq_cst); }

 private:
  friend class Scheduler;

  // Sets max(value(), value). Sequentially consistent: see FreeScheduler, which orders it against
  // the count of sleepers.
  void Advance(uint64_t value) {
    uint64_t seen = value_.load(std::memory_order_relaxed);
    while (seen < value && !value_.compare_exchange_weak(seen, value)) {
    }
  }

  std::atomic<uint64_t> value_{0};
};

}  // namespace tp::sim
