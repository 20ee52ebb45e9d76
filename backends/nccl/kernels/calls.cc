#include "backends/nccl/kernels/calls.h"

#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/views.h"
#include "tp/runtime/kernel_check.h"

namespace tp::nccl {
namespace {

Status CheckViews(const Kernel& kernel, const ScheduledOp& op, SumOrder order) {
  switch (kernel.of_matrices) {
    case OfMatrices::kNowhere:
      return OkStatus();
    case OfMatrices::kInInvariantOrder:
      return order == SumOrder::kFast ? OkStatus() : CheckMatrices(op, "in the invariant order ");
    case OfMatrices::kEverywhere:
      return CheckMatrices(op, "");
  }
  return OkStatus();
}

}  // namespace

Status CheckKernels(const Schedule& schedule) {
  // Products are planned, and so they are in no table.
  TP_RETURN_IF_ERROR(CheckHasKernels(schedule, "the GPU backend", [](Action action) {
    return action == Action::kGemm || FindKernel(action) != nullptr;
  }));
  for (const ScheduledOp& op : schedule.ops) {
    if (op.action == Action::kCollective || op.action == Action::kGemm) continue;
    TP_RETURN_IF_ERROR(CheckViews(*FindKernel(op.action), op, schedule.sum_order));
  }
  return OkStatus();
}

KernelCall MakeCall(const Schedule& schedule, const ScheduledOp& op,
                    const std::function<void*(const View&)>& address, const Scratch& scratch) {
  KernelCall call{.op = op, .order = schedule.sum_order, .scratch = scratch};
  const auto in_memory = [&](const View& view) {
    return DeviceView{address(view), schedule.buffers[view.buffer].dtype, view.dims};
  };
  for (const View& view : op.reads) call.in.push_back(in_memory(view));
  for (const View& view : op.writes) call.out.push_back(in_memory(view));
  return call;
}

}  // namespace tp::nccl
