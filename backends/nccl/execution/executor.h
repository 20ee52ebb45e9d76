// The Executor of the GPU backend: a StepPlan, captured as one CUDA graph or launched op by op.
//
// Step times are between two CUDA events on the compute stream, before the step is handed over and
// after it. Timing ops adds an event on either side of each and so runs the step op by op; the
// streams are held until all of it is enqueued, so that gaps of launching do not count.
#pragma once

#include <memory>

#include "backends/nccl/execution/rank.h"
#include "tp/core/status.h"
#include "tp/runtime/executor.h"
#include "tp/schedule/schedule.h"

namespace tp::nccl {

// To be called by all ranks alike. `rank` outlives the executor. Errors: the libraries'; another
// rank's; a wait's deadline.
StatusOr<std::unique_ptr<Executor>> MakeExecutor(Rank& rank, const Schedule& schedule);

}  // namespace tp::nccl
