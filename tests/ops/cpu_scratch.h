// What a CPU kernel needs besides its tensors, aligned as the executor's, and full of NaN.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <vector>

#include "backends/cpu/kernels/kernel.h"

namespace tp {

class CpuScratch {
 public:
  // As long as this lives, it is the call's.
  CpuScratch(const cpu::Kernel& kernel, cpu::KernelCall& call) {
    Line garbage;
    garbage.numbers.fill(NAN);
    const int64_t bytes = kernel.scratch_bytes == nullptr ? 0 : kernel.scratch_bytes(call);
    lines_.assign(static_cast<size_t>(bytes) / sizeof(Line) + 1, garbage);
    call.scratch = reinterpret_cast<std::byte*>(lines_.data());
  }
  CpuScratch(const CpuScratch&) = delete;
  CpuScratch& operator=(const CpuScratch&) = delete;

 private:
  struct alignas(64) Line {
    std::array<double, 8> numbers;
  };
  std::vector<Line> lines_;
};

}  // namespace tp
