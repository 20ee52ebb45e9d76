#include "backends/cpu/blocked_gemm.h"
#include "backends/cpu/gemm.h"
#include "backends/cpu/kernels/all.h"

namespace tp::cpu {

const Kernel kGemmKernel = {Action::kGemm,
                            [](const KernelCall& c) {
                              Gemm(c.dtype, c.in[0], c.in[1], c.in.size() == 3 ? &c.in[2] : nullptr,
                                   c.out[0], reinterpret_cast<float*>(c.scratch));
                            },
                            [](const KernelCall& c) {
                              return GemmScratchFloats(c.dtype, c.in[0].rows, c.in[1].columns,
                                                       c.in[0].columns) *
                                     static_cast<int64_t>(sizeof(float));
                            }};
const Kernel kBlockedGemmKernel = {
    Action::kBlockedGemm,
    [](const KernelCall& c) {
      BlockedGemm(c.dtype, c.in[0], c.in[1], c.op.sum, c.out_dtype, c.out, c.scratch);
    },
    [](const KernelCall& c) {
      return BlockedGemmScratchBytes(c.dtype, c.in[0].rows, c.in[1].columns, c.in[0].columns);
    }};

}  // namespace tp::cpu
