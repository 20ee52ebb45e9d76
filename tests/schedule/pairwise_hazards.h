// The definition of a race, pair by pair: what hazards.h is held against. Quadratic and more.
#pragma once

#include "tp/core/status.h"
#include "tp/schedule/schedule.h"

namespace tp {

// As OrderConflicts, with the same waits.
void OrderConflictsPairwise(Schedule& schedule);

// As CheckHazards, with the same errors, but for buffers that share bytes: it knows of none.
Status CheckHazardsPairwise(const Schedule& schedule);

}  // namespace tp
