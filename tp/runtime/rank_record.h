// What one rank did in a run that was measured.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tp/runtime/executor.h"
#include "tp/runtime/step_profile.h"
#include "tp/schedule/schedule.h"

namespace tp {

struct RankRecord {
  Schedule schedule;
  AllocatedMemory allocated;
  std::vector<StepRecord> steps;        // the timed ones
  std::vector<StepRecord> products;     // steps of the matrix products alone, if asked for
  std::vector<StepRecord> op_steps;     // those whose ops were timed: `steps` where that is free
  std::vector<StepRecord> profiled;     // the profiled ones, without ops
  RankProfile profile;                  // all about the last of these, kTracedSteps at the most
  std::vector<std::string> algorithms;  // of each op that is a collective; "" for the others
  std::vector<int64_t> expected_bytes;  // all members together, by that algorithm; 0 for the others
};

}  // namespace tp
