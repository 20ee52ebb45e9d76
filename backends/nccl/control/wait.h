// Waiting with a deadline, for something that only asking again tells.
#pragma once

#include <chrono>
#include <functional>
#include <string_view>

#include "backends/nccl/control/control.h"
#include "tp/core/status.h"

namespace tp::nccl {

// Asks `done` until it says true: at first without a pause, then every 20 us or so. Errors:
// `done`'s own; ABORTED as soon as another rank failed; DEADLINE_EXCEEDED, naming `what`
// and, as far as it is known, who keeps it waiting (Control::WhoIsLate).
Status WaitUntil(const Control& control, std::chrono::milliseconds deadline, std::string_view what,
                 const std::function<StatusOr<bool>()>& done);

// Gives word of another rank's failure a moment to come: a peer's death shows up here as an error
// of our own before anyone has said whose it is.
void AwaitEarlierFailure(const Control& control);

}  // namespace tp::nccl
