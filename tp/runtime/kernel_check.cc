#include "tp/runtime/kernel_check.h"

#include <string>

namespace tp {

Status CheckHasKernels(const Schedule& schedule, std::string_view backend,
                       const std::function<bool(Action)>& has) {
  for (const ScheduledOp& op : schedule.ops) {
    if (op.action == Action::kCollective || has(op.action)) continue;
    return Unavailable(std::string(backend) + " has no kernel '" + std::string(Name(op.action)) +
                       "', which computes '" + op.name +
                       "'; run it on another backend, or leave that op out of the program");
  }
  return OkStatus();
}

}  // namespace tp
