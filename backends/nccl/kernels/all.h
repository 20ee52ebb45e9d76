// The kernels of the GPU backend, in one list. A new op is a line here and a file in this folder.
// Products and collectives are not among them: they are planned, not only launched (gemm.h,
// peer_collective.h).
#pragma once

#include "backends/nccl/kernels/kernel.h"

#define TP_GPU_KERNELS(KERNEL)       \
  KERNEL(kAddBiasKernel)             \
  KERNEL(kAddKernel)                 \
  KERNEL(kAddPositionsKernel)        \
  KERNEL(kAddPositionsGradKernel)    \
  KERNEL(kAddToTokensKernel)         \
  KERNEL(kAdamwKernel)               \
  KERNEL(kAdamwMasterKernel)         \
  KERNEL(kAttentionKernel)           \
  KERNEL(kAttentionGradKernel)       \
  KERNEL(kBlockedExpSumKernel)       \
  KERNEL(kBlockedGemmKernel)         \
  KERNEL(kBlockedSumRowsKernel)      \
  KERNEL(kCastKernel)                \
  KERNEL(kClipFactorKernel)          \
  KERNEL(kCopyKernel)                \
  KERNEL(kCrossEntropyKernel)        \
  KERNEL(kCrossEntropyGradKernel)    \
  KERNEL(kDropoutKernel)             \
  KERNEL(kEmbeddingKernel)           \
  KERNEL(kEmbeddingGradKernel)       \
  KERNEL(kExpSumKernel)              \
  KERNEL(kExpSumGradKernel)          \
  KERNEL(kGeluKernel)                \
  KERNEL(kGeluGradKernel)            \
  KERNEL(kGeluTanhKernel)            \
  KERNEL(kGeluTanhGradKernel)        \
  KERNEL(kLayerNormKernel)           \
  KERNEL(kLogitsGradKernel)          \
  KERNEL(kLossScaleKernel)           \
  KERNEL(kLayerNormGradKernel)       \
  KERNEL(kMseGradKernel)             \
  KERNEL(kMseLossGradKernel)         \
  KERNEL(kMseLossKernel)             \
  KERNEL(kMulKernel)                 \
  KERNEL(kPackedAttentionKernel)     \
  KERNEL(kPackedAttentionGradKernel) \
  KERNEL(kPickKernel)                \
  KERNEL(kPickGradKernel)            \
  KERNEL(kReluGradKernel)            \
  KERNEL(kReluKernel)                \
  KERNEL(kRmsNormKernel)             \
  KERNEL(kRmsNormGradKernel)         \
  KERNEL(kRopeKernel)                \
  KERNEL(kRowMaxKernel)              \
  KERNEL(kScaleKernel)               \
  KERNEL(kSgdKernel)                 \
  KERNEL(kSiluKernel)                \
  KERNEL(kSiluGradKernel)            \
  KERNEL(kSquareSumKernel)           \
  KERNEL(kSumBlocksKernel)           \
  KERNEL(kSumRowsKernel)             \
  KERNEL(kSumTokensKernel)           \
  KERNEL(kSwigluKernel)              \
  KERNEL(kSwigluGradKernel)

namespace tp::nccl {

#define TP_DECLARE_KERNEL(name) extern const Kernel name;
TP_GPU_KERNELS(TP_DECLARE_KERNEL)
#undef TP_DECLARE_KERNEL

// The kernel of an action, or null where there is none.
const Kernel* FindKernel(Action action);

}  // namespace tp::nccl
