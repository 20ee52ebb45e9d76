// Whether work fits in the memory that this process can still have.
#pragma once

#include <string>

#include "tp/core/status.h"

namespace tp::io {

// Refuses what cannot fit, because the system would rather kill the process than refuse itself.
// `what` needs `bytes`, as in "3 matrices of 4 KiB"; `advice` is what to do. UNAVAILABLE.
Status CheckFits(double bytes, const std::string& what, const std::string& advice);

}  // namespace tp::io
