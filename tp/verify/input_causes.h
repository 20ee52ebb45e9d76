// Which mistake in what an op read, or in what it was told, explains what it gave: a term that was
// left out, an index that was off by one, places that were counted anew on each rank, a number of
// another op of its kind, ids at a border between ranks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tp/verify/local_reference.h"

namespace tp::verify {

// One sentence for each that explains all of the wrong elements `indices` of `value`, where it is
// `observed`, up to rounding.
std::vector<std::string> CausesByInputs(const LocalReference& reference, ValueId value,
                                        const std::vector<int64_t>& indices,
                                        const std::vector<double>& observed);

}  // namespace tp::verify
