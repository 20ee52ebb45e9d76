// The byte contract: the least that a step's collectives can move, from the Program alone.
//
// It is computed from global shapes and placements and never looks at a Schedule, so that the
// collectives which ran can be held against it: calls that ask for a byte more or less are a
// defect. How much an algorithm sends for a call is its own to say (Executor::ExpectedBytes), and
// never less. Formulas: the bandwidth-optimal volumes of tp/core/collective.h, summed over all
// ranks of the mesh.
//
// A Partial value of n elements that p ranks hold as nodes of a sum tree (tp/core/sum_order.h), s_i
// of them on rank i, becomes Replicate by an all_to_all of sum_i s_i (n - n_i) elements of the
// accumulator's type, n_i being rank i's part of n, and an all_gather of (p - 1) n of its own type.
// Over 2, 4 or 8 ranks every s_i is 1, and fp32 moves what an all_reduce would.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tp/core/collective.h"
#include "tp/core/mesh.h"
#include "tp/program/program.h"
#include "tp/schedule/schedule.h"

namespace tp {

struct ContractEntry {
  std::string name;  // of the value that the collective completes
  CollectiveKind kind = CollectiveKind::kAllReduce;
  Axis axis = Axis::kTp;
  Phase phase = Phase::kForward;
  int64_t bytes = 0;   // that all ranks together send in one step, at the least
  ValueId value = -1;  // the one called `name`
  // One of the two that complete a sum tree, which are of the same value.
  bool of_sum_tree = false;
};

// Whether `op` is a collective that `entry` speaks of, or a part of it. An all_gather, and but for
// the sum a reduce_scatter, may be done by all_to_alls of the same bytes (overlap.h).
bool Serves(const ScheduledOp& op, const ContractEntry& entry);

// One entry for each redistribute that communicates on `mesh`, two where it completes a sum tree,
// in program order. Mesh sizes must be such as Lower takes.
std::vector<ContractEntry> ByteContract(const Program& program, const Mesh& mesh);

}  // namespace tp
