// The kernels of the CPU backend, in one list. A new op is a line here and a file in this folder.
#pragma once

#include "backends/cpu/kernels/kernel.h"

#define TP_CPU_KERNELS(KERNEL)  \
  KERNEL(kAddBiasKernel)        \
  KERNEL(kAddKernel)            \
  KERNEL(kBlockedGemmKernel)    \
  KERNEL(kBlockedSumRowsKernel) \
  KERNEL(kCopyKernel)           \
  KERNEL(kGemmKernel)           \
  KERNEL(kMseGradKernel)        \
  KERNEL(kMseLossGradKernel)    \
  KERNEL(kMseLossKernel)        \
  KERNEL(kReluGradKernel)       \
  KERNEL(kReluKernel)           \
  KERNEL(kSgdKernel)            \
  KERNEL(kSumBlocksKernel)      \
  KERNEL(kSumRowsKernel)

namespace tp::cpu {

#define TP_DECLARE_KERNEL(name) extern const Kernel name;
TP_CPU_KERNELS(TP_DECLARE_KERNEL)
#undef TP_DECLARE_KERNEL

// The kernel of an action, or null where this backend has none.
const Kernel* FindKernel(Action action);

}  // namespace tp::cpu
