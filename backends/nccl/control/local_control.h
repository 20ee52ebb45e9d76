// Control between the threads of one process.
#pragma once

#include <memory>
#include <vector>

#include "backends/nccl/control/control.h"

namespace tp::nccl {

// One Control for each of `world` ranks, in rank order.
std::vector<std::unique_ptr<Control>> MakeLocalControls(int world);

}  // namespace tp::nccl
