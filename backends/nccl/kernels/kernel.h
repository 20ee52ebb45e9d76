// Kernel: how the GPU backend computes one action, and what a kernel is given.
#pragma once

#include <cuda_runtime_api.h>

#include <vector>

#include "backends/nccl/kernels/device_view.h"
#include "backends/nccl/kernels/kernels.h"
#include "tp/core/sum_order.h"
#include "tp/program/action.h"
#include "tp/schedule/schedule.h"

namespace tp::nccl {

// The op's views in this GPU's memory, in the op's order. `op` outlives the call.
struct KernelCall {
  const ScheduledOp& op;
  SumOrder order = SumOrder::kFast;  // of losses
  bool tensor_cores = true;  // for products in the invariant order, where they take the type
  std::vector<DeviceView> in = {};
  std::vector<DeviceView> out = {};
  Scratch scratch = {};
};

// Where a kernel takes views of two dimensions at most. An op with others is UNAVAILABLE there.
enum class OfMatrices { kNowhere, kInInvariantOrder, kEverywhere };

struct Kernel {
  Action action;
  // Enqueues it on `stream`; allocates nothing and waits for nothing.
  cudaError_t (*enqueue)(const KernelCall& call, cudaStream_t stream);
  // Where its blocks meet, from shapes alone; null for nowhere.
  ScratchSize (*scratch)(const KernelCall& call) = nullptr;
  OfMatrices of_matrices = OfMatrices::kNowhere;
};

}  // namespace tp::nccl
