// How much memory there is.
#pragma once

#include <optional>

namespace tp::io {

// Memory that the system could give now; none where it does not say.
std::optional<double> AvailableMemoryBytes();

}  // namespace tp::io
