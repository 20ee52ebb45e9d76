// A redistribute of a value, from its placements to others, as copies and collectives of one rank.
#pragma once

#include "tp/program/program.h"
#include "tp/schedule/draft.h"

namespace tp {

// Adds what `op` takes and gives its output its memory, which may be its input's.
void LowerRedistribute(const Op& op, ScheduleDraft& draft);

}  // namespace tp
