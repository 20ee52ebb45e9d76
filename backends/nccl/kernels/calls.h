// What the GPU's kernels are called with.
#pragma once

#include <functional>

#include "backends/nccl/kernels/kernel.h"
#include "tp/core/status.h"
#include "tp/schedule/schedule.h"

namespace tp::nccl {

// Whether each op of the schedule has a kernel that takes its views. Errors: UNAVAILABLE, naming
// the first op that has none.
Status CheckKernels(const Schedule& schedule);

// The call of an op of `schedule` that is no product and no collective; `address` is a view's in
// memory. CheckKernels has passed.
KernelCall MakeCall(const Schedule& schedule, const ScheduledOp& op,
                    const std::function<void*(const View&)>& address, const Scratch& scratch);

}  // namespace tp::nccl
