#include "backends/nccl/kernels/all.h"

namespace tp::nccl {
namespace {

ScratchSize LossScratch(const KernelCall& c) { return MseLossScratch(c.in[0], c.order); }
double ScaleOf(const KernelCall& c) { return c.op.attributes.Number("scale"); }

}  // namespace

const Kernel kAddKernel = {Action{"add"}, [](const KernelCall& c, cudaStream_t stream) {
                             return Add(c.in[0], c.in[1], c.out[0], stream);
                           }};
const Kernel kAddBiasKernel = {Action{"add_bias"}, [](const KernelCall& c, cudaStream_t stream) {
                                 return AddBias(c.in[0], c.in[1], c.out[0], stream);
                               }};
const Kernel kCopyKernel = {Action::kCopy, [](const KernelCall& c, cudaStream_t stream) {
                              return Copy(c.in[0], c.out[0], stream);
                            }};
const Kernel kMseLossKernel = {Action{"mse_loss"},
                               [](const KernelCall& c, cudaStream_t stream) {
                                 return MseLoss(c.in[0], c.in[1], ScaleOf(c), c.out[0], nullptr,
                                                c.order, c.scratch, stream);
                               },
                               LossScratch};
const Kernel kMseGradKernel = {Action{"mse_grad"}, [](const KernelCall& c, cudaStream_t stream) {
                                 return MseGrad(c.in[0], c.in[1], ScaleOf(c), c.out[0], stream);
                               }};
const Kernel kMseLossGradKernel = {Action{"mse_loss_grad"},
                                   [](const KernelCall& c, cudaStream_t stream) {
                                     return MseLoss(c.in[0], c.in[1], ScaleOf(c), c.out[0],
                                                    &c.out[1], c.order, c.scratch, stream);
                                   },
                                   LossScratch};
const Kernel kSgdKernel = {Action{"sgd"}, [](const KernelCall& c, cudaStream_t stream) {
                             return Sgd(c.in[0], c.in[1], c.op.attributes.Number("rate"), stream);
                           }};
const Kernel kSumRowsKernel = {Action::kSumRows,
                               [](const KernelCall& c, cudaStream_t stream) {
                                 return SumRows(c.in[0], c.out[0], c.scratch, stream);
                               },
                               [](const KernelCall& c) { return SumRowsScratch(c.in[0]); }};

}  // namespace tp::nccl
