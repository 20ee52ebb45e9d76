// What ran on the GPUs of this process, kernel by kernel, from CUPTI's activity API.
//
// CUPTI is one for the process, and so is this; the ranks are threads and each takes what ran on
// its own device. A kernel of a graph belongs to the op whose enqueueing added its node (OpNote);
// the nodes of an executable graph are clones of those, and CUPTI tells which is cloned from which.
// A kernel that is launched on its own belongs to the op that was being enqueued when CUDA was
// called for it.
//
// Times are on std::chrono::steady_clock, to which CUPTI converts the device's. Any thread may
// call. Source: "CUDA Profiling Tools Interface", chapters "CUPTI Activity API" and "CUPTI Callback
// API", and its sample cuda_graphs_trace.
#pragma once

#include <vector>

#include "backends/nccl/op_scope.h"
#include "tp/core/status.h"
#include "tp/runtime/executor.h"

namespace tp::nccl {

class CuptiTrace {
 public:
  // Counted: records from the first Start to the last Stop, all of them with the same `calls`: with
  // it, also calls of CUDA, which launches on their own need. Errors: CUPTI's; another profiler
  // that has this process already.
  static Status Start(bool calls);
  static Status Stop(bool calls);

  // Says whose the nodes of a captured graph are: between Start and the graph's instantiation.
  static Status NameNodes(const std::vector<OpNote>& notes);

  // Drops what `device` ran until now: what came before the first step to be recorded, while
  // another rank was recording already. Errors: CUPTI's.
  static Status Forget(int device);

  // What `device` has run since the last Take or Forget, by op, each in the order of beginning.
  // Nothing may still run there. `notes` are those of the launch, or of the graph's capture.
  // Errors: CUPTI's; something ran that no op is known for.
  static StatusOr<std::vector<std::vector<KernelRecord>>> Take(int device,
                                                               const std::vector<OpNote>& notes);
};

}  // namespace tp::nccl
