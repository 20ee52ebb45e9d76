// What ran on the GPUs of this process, kernel by kernel, from CUPTI's activity API.
//
// CUPTI is one for the process, and so is this; the ranks are threads and each takes what ran on
// its own device. Kernels are launched one by one, since CUPTI slows the nodes of a graph far more;
// a kernel belongs to the op that was being enqueued when CUDA was called for it (OpNote).
//
// Times are on std::chrono::steady_clock, to which CUPTI converts the device's. Any thread may
// call. Source: "CUDA Profiling Tools Interface", chapter "CUPTI Activity API".
#pragma once

#include <cstdint>
#include <vector>

#include "backends/nccl/profile/op_scope.h"
#include "tp/core/status.h"
#include "tp/runtime/executor.h"

namespace tp::nccl {

class CuptiTrace {
 public:
  // Counted: records from the first Start to the last Stop, which detaches CUPTI from the process:
  // then no thread may be in a call of CUDA. Errors: CUPTI's; another profiler that has this
  // process already.
  static Status Start();
  static Status Stop();

  // What `device` has run since the last Take, by op, each in the order of beginning. Nothing may
  // still run there. `notes` are those of the launches; what was launched before `since_ns` is
  // dropped. Blocks while an op has no kernel yet, a moment at most: some ops have none. Errors:
  // CUPTI's, one that saw nothing at all among them; something ran that no op is known for.
  static StatusOr<std::vector<std::vector<KernelRecord>>> Take(int device, int64_t since_ns,
                                                               const std::vector<OpNote>& notes);
};

}  // namespace tp::nccl
