#include "backends/nccl/kernels/attention.cuh"
#include "backends/nccl/kernels/fused_call.h"
#include "backends/nccl/kernels/launch_kernel.cuh"

namespace tp::nccl {
namespace {

constexpr int kThreads = 128;

// A head is numbered b, g, r.
__global__ void __launch_bounds__(kThreads)
    CopyLinesKernel(Operand from, Operand to, int64_t places, int64_t groups, int64_t per_group) {
  AwaitEarlierKernels();
  const int64_t place = static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x;
  if (place >= places) return;
  const int64_t head = blockIdx.x, group = head / per_group;
  const int64_t b = group / groups, g = group % groups, r = head % per_group;
  *At<float>(to, b, place, g, r) = *At<const float>(from, b, place, g, r);
}

cudaError_t CopyLines(const DeviceView& from, const DeviceView& to, cudaStream_t stream) {
  const Dims& dims = from.dims;
  const int64_t blocks = (dims[1].size + kThreads - 1) / kThreads;
  const int64_t heads = dims[0].size * dims[2].size * dims[3].size;
  return LaunchKernel(CopyLinesKernel,
                      dim3(static_cast<unsigned>(heads), static_cast<unsigned>(blocks)), kThreads,
                      stream, Queries(from), Queries(to), dims[1].size, dims[2].size, dims[3].size);
}

}  // namespace

FusedCall::FusedCall(const KernelCall& c, bool packed)
    : call_(c), lse_(IsGradient() ? call_.in[4] : call_.out[1]), theirs_(lse_) {
  if (packed) return;
  int64_t stride = 1;
  for (int d : {1, 3, 2, 0}) {
    lse_.dims[d].stride = stride;
    stride *= lse_.dims[d].size;
  }
  plan_ = FusedAttention::Of(call_);
  if (plan_ == nullptr) return;
  plan_bytes_ = (plan_->scratch_bytes() + 255) / 256 * 256;
  if (c.scratch.partials != nullptr) {
    lse_.data = static_cast<char*>(c.scratch.partials) + plan_bytes_;
  }
}

ScratchSize FusedCall::scratch() const {
  if (!taken()) return {};
  return {plan_bytes_ + lse_.size() * SizeOf(lse_.dtype), 1};
}

cudaError_t FusedCall::Enqueue(cudaStream_t stream) const {
  if (IsGradient()) {
    const cudaError_t error = CopyLines(theirs_, lse_, stream);
    return error != cudaSuccess ? error : plan_->Enqueue(call_, stream);
  }
  const cudaError_t error = plan_->Enqueue(call_, stream);
  return error != cudaSuccess ? error : CopyLines(lse_, theirs_, stream);
}

}  // namespace tp::nccl
