// What CUPTI's times of a step need before they say when its kernels ran. Nanoseconds of
// std::chrono::steady_clock.
#pragma once

#include <cstdint>
#include <vector>

#include "tp/runtime/executor.h"
#include "tp/schedule/schedule.h"

namespace tp::nccl {

using KernelsByOp = std::vector<std::vector<KernelRecord>>;

// CUPTI converts the GPU's clock to the host's with an error of some microseconds. Moves all
// kernels to where none ends after the host saw that the step had.
void CorrectClock(int64_t seen_to_end_ns, KernelsByOp& kernels);

// A kernel that is set up while the one before it on its stream still runs (launch_kernel.cuh) does
// nothing but wait for that one's end, and CUPTI counts it from its set-up. Lets each begin no
// earlier than what began before it on its stream ended.
void CountFromEndOfEarlier(const std::vector<ScheduledOp>& ops, KernelsByOp& kernels);

}  // namespace tp::nccl
