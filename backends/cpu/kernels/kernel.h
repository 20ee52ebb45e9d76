// Kernel: how the CPU backend computes one action, and what a kernel is given.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

#include "backends/cpu/kernels.h"
#include "tp/core/dtype.h"
#include "tp/core/sum_order.h"
#include "tp/program/action.h"
#include "tp/schedule/schedule.h"

namespace tp::cpu {

// The op's views with their memory, in the op's order. A kernel allocates nothing.
struct KernelCall {
  const ScheduledOp& op;
  DType dtype;      // of the first operand
  DType out_dtype;  // of the first output
  std::span<const Tensor> in;
  std::span<const Tensor> out;
  // So many bytes as scratch_bytes asked for, aligned to a cache line: where a vector begins
  // decides in which order Eigen sums a row, and ranks that compute the same must have the same
  // bits.
  std::byte* scratch;
};

// A call's tensors as matrices, for as long as this lives.
class Matrices {
 public:
  explicit Matrices(std::span<const Tensor> tensors) : count_(tensors.size()) {
    std::transform(tensors.begin(), tensors.end(), matrices_.begin(),
                   [](const Tensor& tensor) { return tensor.matrix(); });
  }
  operator std::span<const Matrix>() const { return {matrices_.data(), count_}; }  // NOLINT

 private:
  std::array<Matrix, kSumBlocks> matrices_;
  size_t count_;
};

struct Kernel {
  Action action;
  void (*run)(const KernelCall& call);
  // The bytes that it needs besides, from shapes alone (memory is null); null for none.
  int64_t (*scratch_bytes)(const KernelCall& call) = nullptr;
};

}  // namespace tp::cpu
