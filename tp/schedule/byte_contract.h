// The byte contract: what a step's collectives must move, from the Program alone.
//
// It is computed from global shapes and placements and never looks at a Schedule, so that what an
// executor reports can be held against it: a byte more or less is a defect. Formulas: the
// bandwidth-optimal volumes of tp/core/collective.h, summed over all ranks of the mesh.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tp/core/collective.h"
#include "tp/core/mesh.h"
#include "tp/program/program.h"

namespace tp {

struct ContractEntry {
  std::string name;  // of the value that the collective completes
  CollectiveKind kind = CollectiveKind::kAllReduce;
  Axis axis = Axis::kTp;
  Phase phase = Phase::kForward;
  int64_t bytes = 0;  // sent by all ranks together, in one step
};

// One entry for each redistribute that communicates on `mesh`, in program order.
std::vector<ContractEntry> ByteContract(const Program& program, const Mesh& mesh);

}  // namespace tp
