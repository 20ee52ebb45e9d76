// Arena: all buffers of a rank in one allocation, each aligned to 256 bytes, zero at first.
//
// Plain cudaMalloc, or ncclMemAlloc where a symmetric window is to cover it. Freed when destroyed,
// unless it is abandoned before.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "tp/core/status.h"

namespace tp::nccl {

enum class ArenaKind { kPlain, kForWindows };

class Arena {
 public:
  // Buffer i has bytes[i]. Errors: INTERNAL where the device has not that much memory.
  static StatusOr<std::unique_ptr<Arena>> Create(const std::vector<int64_t>& bytes, ArenaKind kind);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Null for a buffer without bytes.
  char* At(int buffer) const { return bytes_[buffer] == 0 ? nullptr : base_ + offsets_[buffer]; }
  char* base() const { return base_; }
  int64_t bytes() const { return total_; }

  Status FillWithZeros();
  // Leaves the memory to the end of the process: something may still write to it.
  void Abandon() { base_ = nullptr; }

 private:
  Arena() = default;

  ArenaKind kind_ = ArenaKind::kPlain;
  char* base_ = nullptr;
  int64_t total_ = 0;
  std::vector<int64_t> offsets_;
  std::vector<int64_t> bytes_;
};

}  // namespace tp::nccl
