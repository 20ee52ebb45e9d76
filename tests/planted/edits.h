// Edits of a rank's Schedule, of which planted bugs are made.
//
// Ops are known by the value that they compute and by what they do. Every edit leaves a schedule
// without races: what is planted by one is a bug that runs.
#pragma once

#include <string_view>

#include "tp/core/mesh.h"
#include "tp/schedule/schedule.h"

namespace tp::planted {

// The op that computes `name` by `action`; CHECKs that there is one.
ScheduledOp& OpOf(Schedule& schedule, Action action, std::string_view name);
int IndexOf(const Schedule& schedule, Action action, std::string_view name);

// Works the waits out again, after other changes.
void OrderAgain(Schedule& schedule);

// Takes the collective that completes `name` out.
void DropCollective(Schedule& schedule, std::string_view name);

// The collective that completes `name` works on a copy, and nobody looks at the result.
void ReduceACopy(Schedule& schedule, std::string_view name);

// One more all_reduce over `axis`, in place, of what the op `action` of `name` wrote last.
void AllReduceAfter(Schedule& schedule, const Mesh& mesh, Axis axis, Action action,
                    std::string_view name);

// Multiplies `view` by `factor` once the op at `index` is done.
void ScaleAfter(Schedule& schedule, int index, const View& view, double factor);

// After the gather of `name`, a matrix that is sharded by columns over tp, its memory is read as if
// the ranks' parts lay one after the other.
void LayOutRankMajor(Schedule& schedule, const Mesh& mesh, std::string_view name);

// After the gather of `name`, likewise, the first two ranks' parts change places.
void SwapFirstTwoShards(Schedule& schedule, const Mesh& mesh, std::string_view name);

// The op at `index` runs as the first of the step.
void MoveToFront(Schedule& schedule, int index);

// The op reads `name` from a copy that is made only after it, in time for the next step.
void ReadFromStepBefore(Schedule& schedule, Action reader, std::string_view op,
                        std::string_view name);

}  // namespace tp::planted
