// Layout: how the values of a Program are stored, before any rank's memory is allocated.
//
// It depends on the Program and on which axes of the mesh have more than one rank, never on a rank,
// so that all ranks store alike. Two choices keep collectives from packing: a tensor that is
// gathered or scattered along a dimension is stored with that dimension outermost, and a shard that
// will be gathered is computed where it will lie in the whole.
#pragma once

#include <optional>
#include <vector>

#include "tp/core/mesh.h"
#include "tp/program/program.h"
#include "tp/schedule/schedule.h"

namespace tp {

// Both are indexed by value.
struct Layout {
  std::vector<Order> orders;
  std::vector<ValueId> whole_of;  // the whole in whose memory this shard is computed, or -1
};

Layout ChooseLayout(const Program& program, const Mesh& mesh);

// The axis on which redistribute `op` does something: a group of one rank has nothing to do.
std::optional<Axis> ActiveAxis(const Program& program, const Mesh& mesh, const Op& op);

}  // namespace tp
