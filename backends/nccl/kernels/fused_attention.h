// Attention by cuDNN's fused kernels, forward and backward: bf16 and fp16, causal, heads of up to
// 128 elements in groups. What they do not take is left to attention.cu.
//
// A plan holds for one shape, layout, type and GPU. It is made when the scratch memory of its
// op is asked for, and kept for as long as the process lives: making it takes up to a second, and
// cannot be done while a graph is captured. Running it is one call that allocates nothing and waits
// for nothing. Gradients are worked out in an order of their own, the same at every run.
//
// Source: the scaled dot product attention of cudnn-frontend's graphs.
#pragma once

#include <cstdint>

#include "backends/nccl/kernels/kernel.h"

namespace tp::nccl {

class FusedAttention {
 public:
  // The plan of a call of attention, or of attention_grad, which is not of packed sequences; null
  // where the call is for the other kernels. That takes in sums in the invariant order, queries
  // that are a part of the sequence (cuDNN counts places from the first query and key that it is
  // given), and machines without cuDNN. A shape that cuDNN refuses is logged once, with the reason.
  static const FusedAttention* Of(const KernelCall& c);

  virtual ~FusedAttention() = default;
  // Of Scratch::partials.
  virtual int64_t scratch_bytes() const = 0;
  // `c` is of the shape and layout that the plan is of.
  virtual cudaError_t Enqueue(const KernelCall& c, cudaStream_t stream) const = 0;
};

}  // namespace tp::nccl
