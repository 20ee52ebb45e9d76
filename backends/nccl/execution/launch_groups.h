// Launch groups: which ops of a Schedule go to the GPU together, because each alone is over before
// it has filled the GPU: an optimizer's updates, and the sums of squares that a norm is made of.
// And those that hand on a tensor from one to the next, which then need not go through memory: what
// comes before an RMS norm and what comes behind its gradient.
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
  kNorm,     // [sum_rows], add, rms_norm: each reads what the one before it writes
  kNormGrad  // [sum_rows], rms_norm_grad, [add]: likewise
};

struct LaunchGroup {
  GroupKind kind = GroupKind::kUpdates;
  std::vector<int> ops;  // two or more, in order
  // kNorm, kNormGrad: by op, whether anybody but the next op of the group reads what it writes
  // first. What nobody else reads is not written.
  std::vector<bool> written = {};
};

// In order. The schedule's waits are there, and its buffers have places.
std::vector<LaunchGroup> GroupLaunches(const Schedule& schedule);

}  // namespace tp::nccl
