// The kernels of the CPU backend, in one list. A new op is a line here and a file in this folder.
#pragma once

#include "backends/cpu/kernels/kernel.h"

#define TP_CPU_KERNELS(KERNEL)       \
  KERNEL(kAdamwKernel)               \
  KERNEL(kAdamwMasterKernel)         \
  KERNEL(kAddBiasKernel)             \
  KERNEL(kAddKernel)                 \
  KERNEL(kAddPositionsGradKernel)    \
  KERNEL(kAddPositionsKernel)        \
  KERNEL(kAddToTokensKernel)         \
  KERNEL(kAttentionGradKernel)       \
  KERNEL(kAttentionKernel)           \
  KERNEL(kBlockedExpSumKernel)       \
  KERNEL(kBlockedGemmKernel)         \
  KERNEL(kBlockedSumRowsKernel)      \
  KERNEL(kCastKernel)                \
  KERNEL(kClipFactorKernel)          \
  KERNEL(kCopyKernel)                \
  KERNEL(kCrossEntropyGradKernel)    \
  KERNEL(kCrossEntropyKernel)        \
  KERNEL(kDropoutKernel)             \
  KERNEL(kEmbeddingGradKernel)       \
  KERNEL(kEmbeddingKernel)           \
  KERNEL(kExpSumGradKernel)          \
  KERNEL(kExpSumKernel)              \
  KERNEL(kGeluGradKernel)            \
  KERNEL(kGeluKernel)                \
  KERNEL(kGeluTanhGradKernel)        \
  KERNEL(kGeluTanhKernel)            \
  KERNEL(kGemmKernel)                \
  KERNEL(kLayerNormGradKernel)       \
  KERNEL(kLayerNormKernel)           \
  KERNEL(kLogitsGradKernel)          \
  KERNEL(kLossScaleKernel)           \
  KERNEL(kMseGradKernel)             \
  KERNEL(kMseLossGradKernel)         \
  KERNEL(kMseLossKernel)             \
  KERNEL(kMulKernel)                 \
  KERNEL(kPackedAttentionGradKernel) \
  KERNEL(kPackedAttentionKernel)     \
  KERNEL(kPickGradKernel)            \
  KERNEL(kPickKernel)                \
  KERNEL(kReluGradKernel)            \
  KERNEL(kReluKernel)                \
  KERNEL(kRmsNormGradKernel)         \
  KERNEL(kRmsNormKernel)             \
  KERNEL(kRopeKernel)                \
  KERNEL(kRowMaxKernel)              \
  KERNEL(kScaleKernel)               \
  KERNEL(kSgdKernel)                 \
  KERNEL(kSiluGradKernel)            \
  KERNEL(kSiluKernel)                \
  KERNEL(kSquareSumKernel)           \
  KERNEL(kSumBlocksKernel)           \
  KERNEL(kSumRowsKernel)             \
  KERNEL(kSumTokensKernel)           \
  KERNEL(kSwigluGradKernel)          \
  KERNEL(kSwigluKernel)

namespace tp::cpu {

#define TP_DECLARE_KERNEL(name) extern const Kernel name;
TP_CPU_KERNELS(TP_DECLARE_KERNEL)
#undef TP_DECLARE_KERNEL

// The kernel of an action, or null where this backend has none.
const Kernel* FindKernel(Action action);

}  // namespace tp::cpu
