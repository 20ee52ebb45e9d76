// Launch groups: which ops of a Schedule go to the GPU together, because each alone is over before
// it has filled the GPU: an optimizer's updates, and the sums of squares that a norm is made of.
//
// The ops of a group follow one another on the compute stream, and are launched where its last one
// is: until then nobody may need what they do. So no other stream waits for any but the last.
#pragma once

#include <vector>

#include "tp/schedule/schedule.h"

namespace tp::nccl {

enum class GroupKind {
  kUpdates,  // adamw, or adamw_master: none touches what another one writes
  kSquares,  // square_sum, and sums of two scalars among them; no sum's memory is squared
};

struct LaunchGroup {
  GroupKind kind = GroupKind::kUpdates;
  std::vector<int> ops;  // two or more, in order
};

// In order. The schedule's waits are there, and its buffers have places.
std::vector<LaunchGroup> GroupLaunches(const Schedule& schedule);

}  // namespace tp::nccl
