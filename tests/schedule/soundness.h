// What must hold of the Schedules of a Program, whatever the Program.
#pragma once

#include <string>
#include <vector>

#include "tp/core/mesh.h"
#include "tp/program/program.h"
#include "tp/schedule/schedule.h"

namespace tp {

// The first thing that is wrong, or "". Views lie in their buffers; bindings have the shape of
// their shard; collectives are contiguous, say what they touch, and are called alike and in the
// same order by their group; nothing races; every wait is for another stream, and needed; and the
// collectives send what the byte contract says.
std::string DefectOf(const Program& program, const Mesh& mesh,
                     const std::vector<Schedule>& schedules);

}  // namespace tp
