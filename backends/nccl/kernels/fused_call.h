// A call of attention or of its gradient by cuDNN, which has a head's logarithms of sums one after
// the other: they are copied to where the op has them, or from there.
#pragma once

#include "backends/nccl/kernels/fused_attention.h"
#include "backends/nccl/kernels/kernel.h"

namespace tp::nccl {

class FusedCall {
 public:
  // cuDNN takes none of packed sequences.
  FusedCall(const KernelCall& c, bool packed);
  FusedCall(const FusedCall&) = delete;
  FusedCall& operator=(const FusedCall&) = delete;

  bool taken() const { return plan_ != nullptr; }
  // None where it is not taken.
  ScratchSize scratch() const;
  // Only where it is taken.
  cudaError_t Enqueue(cudaStream_t stream) const;

 private:
  bool IsGradient() const { return call_.in.size() > 4; }

  KernelCall call_;
  DeviceView& lse_;  // in call_
  const DeviceView theirs_;
  const FusedAttention* plan_ = nullptr;
  int64_t plan_bytes_ = 0;
};

}  // namespace tp::nccl
