// Which ranks hold an element of a value, from its placements.
#pragma once

#include <cstdint>
#include <vector>

#include "tp/core/mesh.h"
#include "tp/program/program.h"

namespace tp::verify {

// Where element `index` (row-major) lies in `shape`.
std::vector<int64_t> PositionOf(const Shape& shape, int64_t index);
int64_t IndexOf(const Shape& shape, const std::vector<int64_t>& position);

// The ranks that hold element `index`, or a share of it, ascending.
std::vector<int> OwnersOf(const Value& value, const Mesh& mesh, int64_t index);

}  // namespace tp::verify
