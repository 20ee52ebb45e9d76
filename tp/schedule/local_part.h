// Which part of a value a rank of a mesh holds.
#pragma once

#include <cstdint>
#include <vector>

#include "tp/core/mesh.h"
#include "tp/core/sum_order.h"
#include "tp/program/program.h"
#include "tp/schedule/schedule.h"

namespace tp {

// Elements [begin, begin + length) of a dimension.
struct Extent {
  int64_t begin = 0;
  int64_t length = 0;
};

// What `rank` holds of dimension `dim`.
Extent ExtentOf(const Value& value, int dim, const Mesh& mesh, int rank);
// The sizes of what it holds.
Shape LocalShape(const Value& value, const Mesh& mesh, int rank);

// The blocks of dimension `dim` that `rank` holds. Axes must split into blocks
// (tp/core/sum_order.h).
BlockRange BlocksOf(const Value& value, int dim, const Mesh& mesh, int rank);

// The part of `whole` that the first, second, ... of `members` owns along dimension `dim` of a
// tensor of `value`'s shape.
View BlockOf(const View& whole, const Value& value, int dim, int members, int member);

// How many elements each of `members` owns so.
std::vector<int64_t> BlockCounts(const View& whole, const Value& value, int dim, int members);

}  // namespace tp
