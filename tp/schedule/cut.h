// What cuts of a Schedule's ops have in common.
#pragma once

#include <cstdint>

#include "tp/schedule/schedule.h"

namespace tp {

// Whether `op` reads or writes memory of `view`.
bool Touches(const ScheduledOp& op, const View& view);

// `length` rows of a product of matrices, from row `begin` on.
ScheduledOp RowsOfProduct(const ScheduledOp& product, int64_t begin, int64_t length);

}  // namespace tp
