#include "backends/cpu/kernels/all.h"
#include "backends/cpu/kernels/blocks.h"

namespace tp::cpu {

const Kernel kMulKernel = {Action{"mul"}, [](const KernelCall& c) {
                             ForEachBlock<2, 1>(
                                 c.dtype, {c.in[0], c.in[1]}, {c.out[0]},
                                 [](const auto& in, auto& out) { out[0] = in[0] * in[1]; });
                           }};

}  // namespace tp::cpu
