#include "tp/observe/timeline.h"

#include <glog/logging.h>

#include <algorithm>
#include <array>
#include <map>
#include <utility>

namespace tp {
namespace {

std::vector<TimelineOperand> OperandsOf(const Schedule& schedule, const ScheduledOp& op) {
  std::vector<TimelineOperand> operands;
  const std::vector<View> sent = {op.send};
  for (const View& view : op.action == Action::kCollective ? sent : op.reads) {
    if (view.buffer < 0) {  // a rank without anything to send
      operands.push_back({0, 0, op.call.dtype});
      continue;
    }
    // Of a view of more dimensions, all but the last are rows.
    const int64_t columns = view.columns();
    operands.push_back(
        {view.rank() <= 2 ? view.rows() : view.size() / std::max<int64_t>(columns, 1), columns,
         schedule.buffers[view.buffer].dtype});
  }
  return operands;
}

// The collectives of each axis in a step, and of each op how many of its axis come before it.
struct Sequence {
  std::map<Axis, int64_t> per_step;
  std::vector<int64_t> before;
};

Sequence SequenceOf(const Schedule& schedule) {
  Sequence sequence;
  for (const ScheduledOp& op : schedule.ops) {
    const bool collective = op.action == Action::kCollective;
    sequence.before.push_back(collective ? sequence.per_step[op.axis]++ : 0);
  }
  return sequence;
}

std::string WorkerKernelName(const TimelineOp& op) {
  const std::string what =
      op.collective ? std::string(Name(op.collective->kind)) + " " + op.collective->algorithm
                    : std::string(Name(op.action));
  return what + " (CPU worker)";
}

std::vector<TimelineOp> OpsOf(const RankRecord& rank, const Sequence& sequence,
                              const ProfiledStep& step) {
  const Schedule& schedule = rank.schedule;
  std::vector<TimelineOp> ops;
  for (size_t i = 0; i < schedule.ops.size(); ++i) {
    const ScheduledOp& scheduled = schedule.ops[i];
    const OpRecord& record = step.record.ops[i];
    TimelineOp op;
    op.value = scheduled.name;
    op.action = scheduled.action;
    op.phase = scheduled.phase;
    op.stream = scheduled.stream;
    op.begin_ns = record.begin_ns;
    op.end_ns = record.end_ns;
    op.inputs = OperandsOf(schedule, scheduled);
    if (scheduled.action == Action::kCollective) {
      op.collective = {scheduled.call.kind,
                       rank.algorithms[i],
                       scheduled.axis,
                       scheduled.group,
                       record.bytes_sent,
                       TotalElements(scheduled.call) * SizeOf(scheduled.call.dtype),
                       step.number * sequence.per_step.at(scheduled.axis) + sequence.before[i]};
    }
    if (step.record.profile.empty()) {
      op.enqueue_begin_ns = op.enqueue_end_ns = step.record.begin_ns;
      KernelRecord kernel;
      kernel.name = WorkerKernelName(op);
      kernel.begin_ns = op.begin_ns;
      kernel.end_ns = op.end_ns;
      op.kernels = {std::move(kernel)};
    } else {
      op.enqueue_begin_ns = step.record.profile[i].enqueue_begin_ns;
      op.enqueue_end_ns = step.record.profile[i].enqueue_end_ns;
      op.kernels = step.record.profile[i].kernels;
    }
    ops.push_back(std::move(op));
  }
  return ops;
}

std::vector<TimelineWait> WaitsOf(const Schedule& schedule, const TimelineStep& step) {
  std::array<int64_t, kMostStreams> free_since;
  free_since.fill(step.begin_ns);
  std::vector<TimelineWait> waits;
  for (size_t i = 0; i < schedule.ops.size(); ++i) {
    const TimelineOp& op = step.ops[i];
    int64_t& idle_since = free_since[static_cast<size_t>(op.stream)];
    const TimelineOp* last = nullptr;
    for (int wait : schedule.ops[i].waits) {
      const TimelineOp& awaited = step.ops[wait];
      if (last == nullptr || awaited.end_ns > last->end_ns) last = &awaited;
    }
    if (last != nullptr && last->end_ns > idle_since && op.begin_ns > idle_since) {
      waits.push_back({op.stream, last->value, idle_since, op.begin_ns});
    }
    idle_since = std::max(idle_since, op.end_ns);
  }
  return waits;
}

std::vector<TimelinePhase> PhasesOf(const TimelineStep& step) {
  std::vector<TimelinePhase> phases;
  for (Stream stream : AllStreams()) {
    const size_t first = phases.size();
    for (const TimelineOp& op : step.ops) {
      if (op.stream != stream) continue;
      if (phases.size() == first || phases.back().phase != op.phase) {
        phases.push_back({op.phase, stream, op.begin_ns, op.end_ns});
      }
      phases.back().end_ns = std::max(phases.back().end_ns, op.end_ns);
    }
  }
  return phases;
}

}  // namespace

std::string TimelineName(const TimelineOp& op) {
  const std::string_view what = op.collective ? Name(op.collective->kind) : Name(op.action);
  return std::string(what) + " " + op.value;
}

Timeline MakeTimeline(const RankRecord& rank, int world, const std::string& backend) {
  Timeline timeline;
  timeline.rank = rank.schedule.rank;
  timeline.world = world;
  timeline.backend = backend;
  timeline.host = rank.profile.host;
  timeline.process = rank.profile.process;
  timeline.device = rank.profile.device;
  const Sequence sequence = SequenceOf(rank.schedule);
  for (const ProfiledStep& profiled : rank.profile.steps) {
    timeline.clock = profiled.record.clock;
    CHECK_EQ(profiled.record.ops.size(), rank.schedule.ops.size());
    CHECK(profiled.record.profile.empty() ||
          profiled.record.profile.size() == rank.schedule.ops.size());
    TimelineStep step;
    step.number = profiled.number;
    step.arrived_ns = profiled.arrived_ns;
    step.released_ns = profiled.released_ns;
    step.begin_ns = profiled.record.begin_ns;
    step.handed_over_ns = profiled.handed_over_ns;
    step.end_ns = profiled.synchronized_ns;
    step.duration_ns = profiled.record.end_ns - profiled.record.begin_ns;
    step.ops = OpsOf(rank, sequence, profiled);
    step.waits = WaitsOf(rank.schedule, step);
    step.phases = PhasesOf(step);
    timeline.steps.push_back(std::move(step));
  }
  return timeline;
}

}  // namespace tp
