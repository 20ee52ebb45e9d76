// What Train makes of the ranks' blobs: the other end of what RankRun in train.cc packs.
#pragma once

#include <string>
#include <vector>

#include "tools/measure/train.h"
#include "tp/core/mesh.h"
#include "tp/program/program.h"
#include "tp/schedule/schedule.h"

namespace tp {

// Whether a step tells a loss.
bool HasLoss(const Program& program);

// Whether it is among the parameters, or among the results that are no scalars.
bool IsWanted(const Program& program, const Binding& binding, bool parameters);

// Whole tensors from the parts of all ranks, whose `schedules` these are, in rank order.
TrainResult Unpack(const std::vector<std::string>& blobs, const Program& program, const Mesh& mesh,
                   const TrainOptions& options, std::vector<Schedule> schedules);

}  // namespace tp
