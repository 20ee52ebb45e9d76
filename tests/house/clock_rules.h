// Who may read a clock: tp/core/clock, and others through it.
#pragma once

#include <string>
#include <string_view>

namespace tp {

// Why the line `line` of the file `from` may not read the time as it does, or "". Backends that
// wait with a deadline, and tests, may read a clock themselves.
std::string ObjectionToClock(std::string_view from, std::string_view line);

}  // namespace tp
