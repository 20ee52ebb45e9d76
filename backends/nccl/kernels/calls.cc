#include "backends/nccl/kernels/calls.h"

#include <string>

#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/views.h"

namespace tp::nccl {

Status CheckKernels(const Schedule& schedule) {
  for (const ScheduledOp& op : schedule.ops) {
    if (op.action == Action::kCollective || op.action == Action::kGemm) continue;
    const Kernel* kernel = FindKernel(op.action);
    if (kernel == nullptr) {
      return Unavailable("the GPU backend has no kernel '" + std::string(Name(op.action)) +
                         "' for '" + op.name + "'");
    }
    if (kernel->of_matrices) TP_RETURN_IF_ERROR(AsMatrices(op, schedule.sum_order).status());
  }
  return OkStatus();
}

KernelCall MakeCall(const Schedule& schedule, const ScheduledOp& op,
                    const std::function<void*(const View&)>& address, const Scratch& scratch) {
  KernelCall call{.op = op, .order = schedule.sum_order, .scratch = scratch};
  const MatrixViews views = FindKernel(op.action)->of_matrices
                                ? AsMatrices(op, schedule.sum_order).value()
                                : MatrixViews{op.reads, op.writes};
  const auto in_memory = [&](const View& view) {
    return DeviceView{address(view), schedule.buffers[view.buffer].dtype, view.dims};
  };
  for (const View& view : views.reads) call.in.push_back(in_memory(view));
  for (const View& view : views.writes) call.out.push_back(in_memory(view));
  return call;
}

}  // namespace tp::nccl
