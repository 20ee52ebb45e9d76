// Kernel: how the CPU backend computes one action, and what a kernel is given.
#pragma once

#include <cstdint>
#include <span>

#include "backends/cpu/kernels.h"
#include "tp/core/dtype.h"
#include "tp/program/action.h"
#include "tp/schedule/schedule.h"

namespace tp::cpu {

// The op's views with their memory, in the op's order. A kernel allocates nothing.
struct KernelCall {
  const ScheduledOp& op;
  DType dtype;      // of the first operand
  DType out_dtype;  // of the first output
  std::span<const Matrix> in;
  std::span<const Matrix> out;
  std::byte* scratch;  // so many bytes as scratch_bytes asked for
};

struct Kernel {
  Action action;
  void (*run)(const KernelCall& call);
  // The bytes that it needs besides, from shapes alone (memory is null); null for none.
  int64_t (*scratch_bytes)(const KernelCall& call) = nullptr;
};

}  // namespace tp::cpu
