// Timeline: what one rank did in its profiled steps, as data that a trace writer can draw.
//
// Made from the rank's Schedule and what its executor recorded; all times are measured, in
// nanoseconds of std::chrono::steady_clock. A collective's begin is when this rank came to it, so
// its time holds the waiting for others.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tp/core/clock.h"
#include "tp/core/collective.h"
#include "tp/core/dtype.h"
#include "tp/core/mesh.h"
#include "tp/program/program.h"
#include "tp/runtime/executor.h"
#include "tp/runtime/rank_record.h"
#include "tp/schedule/schedule.h"

namespace tp {

struct TimelineOperand {
  int64_t rows = 0;  // of this rank's part
  int64_t columns = 0;
  DType dtype = DType::kFloat32;
};

struct TimelineCollective {
  CollectiveKind kind = CollectiveKind::kBarrier;
  std::string algorithm;
  Axis axis = Axis::kTp;
  std::vector<int> group;   // world ranks in member order
  int64_t bytes_sent = 0;   // by this rank
  int64_t array_bytes = 0;  // of the whole array
  int64_t sequence = 0;     // collectives of this group before it, since training began
};

struct TimelineOp {
  std::string value;  // what it computes: "dx"
  Action action = Action::kCopy;
  Phase phase = Phase::kForward;
  Stream stream = Stream::kCompute;
  int64_t begin_ns = 0;
  int64_t end_ns = 0;
  int64_t enqueue_begin_ns = 0;  // by the rank's thread; ops handed over as one have one time, and
  int64_t enqueue_end_ns = 0;    // it has no length
  std::vector<TimelineOperand> inputs;
  std::optional<TimelineCollective> collective;
  // On a CPU worker, whose op is one thing, one without a launch's numbers.
  std::vector<KernelRecord> kernels;
};

// A stream had nothing to run until an op of another stream ended.
struct TimelineWait {
  Stream stream = Stream::kCompute;
  std::string value;  // of the op that was waited for
  int64_t begin_ns = 0;
  int64_t end_ns = 0;  // the op that waited began
};

// Ops of one phase, one after the other on one stream.
struct TimelinePhase {
  Phase phase = Phase::kForward;
  Stream stream = Stream::kCompute;
  int64_t begin_ns = 0;
  int64_t end_ns = 0;
};

struct TimelineStep {
  int64_t number = 0;
  int64_t arrived_ns = 0;  // the rank's thread: see ProfiledStep
  int64_t released_ns = 0;
  int64_t begin_ns = 0;
  int64_t handed_over_ns = 0;
  int64_t end_ns = 0;           // it saw the step end
  int64_t duration_ns = 0;      // of the step as reports count it
  std::vector<TimelineOp> ops;  // in schedule order
  std::vector<TimelineWait> waits;
  std::vector<TimelinePhase> phases;
};

struct Timeline {
  int rank = 0;
  int world = 1;
  std::string backend;  // "sim", "nccl"
  std::string host;
  int64_t process = 0;
  DeviceInfo device;
  ClockKind clock = ClockKind::kMeasured;  // what the times are
  std::vector<TimelineStep> steps;
};

// "gemm dw.partial": what an op does, and the value that it computes.
std::string TimelineName(const TimelineOp& op);

// From a rank whose steps were profiled, one of `world`. CHECKs that each record holds every op.
Timeline MakeTimeline(const RankRecord& rank, int world, const std::string& backend);

}  // namespace tp
