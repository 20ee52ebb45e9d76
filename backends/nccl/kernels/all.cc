#include "backends/nccl/kernels/all.h"

namespace tp::nccl {
namespace {

#define TP_ADDRESS_OF_KERNEL(name) &name,
constexpr const Kernel* kKernels[] = {TP_GPU_KERNELS(TP_ADDRESS_OF_KERNEL)};
#undef TP_ADDRESS_OF_KERNEL

}  // namespace

const Kernel* FindKernel(Action action) {
  for (const Kernel* kernel : kKernels) {
    if (kernel->action == action) return kernel;
  }
  return nullptr;
}

}  // namespace tp::nccl
