// Which ranks hold an element of a quantity.
//
// Coordinates: an axis names one coordinate where the element is sharded over it, and none where
// every rank of the axis holds the element (it is replicated, or a sum over the axis).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tp/core/mesh.h"
#include "tp/verify/expectation.h"

namespace tp::verify {

// The dimension of `quantity` that is sharded over `axis`, before it is gathered, if any.
std::optional<int> ShardedDimension(Quantity quantity, Mode mode, Axis axis);

// The coordinate on `axis` of the ranks that make element `index` (row-major) of a quantity of
// `shape`; none where all of them take part.
std::optional<int> OwnerCoordinate(Quantity quantity, const NumericModel& model, Axis axis,
                                   const Shape& shape, int64_t index);

// Those ranks, ascending.
std::vector<int> OwnersOf(Quantity quantity, const NumericModel& model, const Shape& shape,
                          int64_t index);

// Position along `dimension` of element `index`.
int64_t PositionAlong(const Shape& shape, int dimension, int64_t index);

}  // namespace tp::verify
