// What ties an op to its like on other ranks, and to the Program: identity, never a name.
//
// Ranks run the same ops, but for those whose blocks are empty on some ranks, so places in the
// schedules say nothing.
#pragma once

#include <vector>

#include "tp/core/collective.h"
#include "tp/core/mesh.h"
#include "tp/schedule/schedule.h"

namespace tp {

struct OpKey {
  ValueId value = -1;  // of the Program, that the op computes
  Action action = Action::kCopy;
  CollectiveKind kind = CollectiveKind::kAllReduce;  // where it is a collective
  Axis axis = Axis::kTp;
  int part = 0;  // of the ops of a rank that are alike so far, in schedule order

  auto operator<=>(const OpKey&) const = default;
};

// Of each op of the schedule.
std::vector<OpKey> KeysOf(const Schedule& schedule);

}  // namespace tp
