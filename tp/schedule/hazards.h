// Data races in a Schedule: found before anything runs.
//
// Two ops conflict if they touch the same memory (Overlap of view.h) and at least one writes it. A
// Schedule is sound if one of any two conflicting ops is before the other (step_order.h).
#pragma once

#include "tp/core/status.h"
#include "tp/schedule/schedule.h"

namespace tp {

// Adds to each op the waits that its conflicts need and that are not implied by others.
void OrderConflicts(Schedule& schedule);

// Also of buffers that share bytes of the arena: every use of one must be before every use of the
// other, and what is bound shares with nobody. Errors: INVALID_ARGUMENT that names the two ops, the
// buffer, and what is missing.
Status CheckHazards(const Schedule& schedule);

}  // namespace tp
