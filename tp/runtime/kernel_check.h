// Whether a backend can compute a schedule: asked before anything is allocated or run.
#pragma once

#include <functional>
#include <string_view>

#include "tp/core/status.h"
#include "tp/program/action.h"
#include "tp/schedule/schedule.h"

namespace tp {

// Whether `has` says so of the action of each op that is no collective. `backend` is its name in
// words, such as "the CPU backend". Errors: UNAVAILABLE, naming the first op without a kernel.
Status CheckHasKernels(const Schedule& schedule, std::string_view backend,
                       const std::function<bool(Action)>& has);

}  // namespace tp
