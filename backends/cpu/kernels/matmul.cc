#include "backends/cpu/blocked_gemm.h"
#include "backends/cpu/gemm.h"
#include "backends/cpu/kernels/all.h"

namespace tp::cpu {

namespace {

const Tensor* AddedTo(const KernelCall& c) { return c.in.size() == 3 ? &c.in[2] : nullptr; }

}  // namespace

const Kernel kGemmKernel = {
    Action::kGemm,
    [](const KernelCall& c) { Gemm(c.dtype, c.in[0], c.in[1], AddedTo(c), c.out[0], c.scratch); },
    [](const KernelCall& c) {
      return GemmScratchBytes(c.dtype, c.in[0], c.in[1], AddedTo(c), c.out[0]);
    }};
const Kernel kBlockedGemmKernel = {Action::kBlockedGemm,
                                   [](const KernelCall& c) {
                                     BlockedGemm(c.dtype, c.in[0].matrix(), c.in[1].matrix(),
                                                 c.op.sum, c.out_dtype, Matrices(c.out), c.scratch);
                                   },
                                   [](const KernelCall& c) {
                                     const Matrix a = c.in[0].matrix();
                                     return BlockedGemmScratchBytes(
                                         c.dtype, a.rows, c.in[1].matrix().columns, a.columns);
                                   }};

}  // namespace tp::cpu
