// Arena: all buffers of a rank in one allocation, where its schedule says, zero at first.
//
// One cudaMalloc, which peers may reach as a whole. Freed when destroyed, unless it is abandoned
// before.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "tp/core/status.h"
#include "tp/schedule/schedule.h"

namespace tp::nccl {

class Arena {
 public:
  // Of the schedule's buffers, as ArenaOf (tp/schedule/memory.h) lays them out, and behind them
  // more of so many bytes, each with memory of its own. Errors: INTERNAL where the device has not
  // that much memory.
  static StatusOr<std::unique_ptr<Arena>> Create(const Schedule& schedule,
                                                 const std::vector<int64_t>& more);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // `buffer` counts the schedule's and then those that are more. Null for one without bytes.
  char* At(int buffer) const { return bytes_[buffer] == 0 ? nullptr : base_ + offsets_[buffer]; }
  char* base() const { return base_; }
  int64_t bytes() const { return total_; }
  // Of these, for the schedule's buffers.
  int64_t buffer_bytes() const { return buffer_bytes_; }
  int64_t OffsetOf(int buffer) const { return offsets_[buffer]; }

  Status FillWithZeros();
  // Leaves the memory to the end of the process: something may still write to it.
  void Abandon() { base_ = nullptr; }

 private:
  Arena() = default;

  char* base_ = nullptr;
  int64_t total_ = 0;
  int64_t buffer_bytes_ = 0;
  std::vector<int64_t> offsets_;
  std::vector<int64_t> bytes_;
};

}  // namespace tp::nccl
