// Groups around an RMS norm (launch_groups.h): a tensor goes from op to op, line by line, and each
// thread has its part of a line in registers all the way.
//
// All tensors of a group lie alike and packed: a line of the norm is the same elements of each.
// Lines go 16 bytes at a time and are short enough for a block's registers.
#pragma once

#include <vector>

#include "backends/nccl/execution/launch_groups.h"
#include "tp/schedule/schedule.h"

namespace tp::nccl {

// In order.
std::vector<LaunchGroup> GroupNorms(const Schedule& schedule);

}  // namespace tp::nccl
