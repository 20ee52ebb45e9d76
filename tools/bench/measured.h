// A step that was measured, of whatever program: times, bytes and memory of all its ranks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/measure/train.h"
#include "tp/core/mesh.h"
#include "tp/core/status.h"
#include "tp/observe/rank_report.h"
#include "tp/observe/step_report.h"
#include "tp/observe/timeline.h"
#include "tp/program/program.h"
#include "tp/runtime/executor.h"

namespace tp::bench {

struct MeasuredStep {
  StepReport steps;
  std::vector<Timeline> timelines;  // of each rank, where it was profiled
  RankReport ranks;
  std::vector<int64_t> memory_bytes;                // by rank: the arena that was planned
  std::vector<int64_t> memory_bytes_without_reuse;  // what that would be were none used again
  std::vector<AllocatedMemory> allocated;           // by rank: what its executor took
  std::vector<std::string> replica_defects;         // where replicas differ

  // Whether each rank's buffers took the memory that was planned, no byte more or less.
  bool memory_ok() const;
  // Whether bytes, memory and replicas are what they must be.
  bool ok() const { return steps.bytes_ok && memory_ok() && replica_defects.empty(); }
};

// Of a training run on `backend` ("sim", "nccl"), some step of which was timed; takes the replicas'
// defects out of it. Errors: those of MakeStepReport.
StatusOr<MeasuredStep> MakeMeasuredStep(const std::string& backend, const Mesh& mesh,
                                        const Program& program, TrainResult& trained);

}  // namespace tp::bench
