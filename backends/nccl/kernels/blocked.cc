#include "backends/nccl/blocked.h"

#include "backends/nccl/kernels/all.h"

namespace tp::nccl {

const Kernel kBlockedGemmKernel = {Action::kBlockedGemm,
                                   [](const KernelCall& c, cudaStream_t stream) {
                                     return BlockedGemm(c.in[0], c.in[1], c.op.sum, c.out, stream);
                                   }};
const Kernel kBlockedSumRowsKernel = {Action::kBlockedSumRows,
                                      [](const KernelCall& c, cudaStream_t stream) {
                                        return BlockedSumRows(c.in[0], c.op.sum, c.out, stream);
                                      }};
const Kernel kSumBlocksKernel = {Action::kSumBlocks, [](const KernelCall& c, cudaStream_t stream) {
                                   return SumBlocks(c.in[0], c.op.sum, c.out[0], stream);
                                 }};

}  // namespace tp::nccl
