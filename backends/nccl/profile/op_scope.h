// Which op the rank's thread is enqueueing: for NVIDIA's tools, by NVTX ranges, and for our own
// profiler, by notes.
//
// NVTX ranges, one a phase and one an op, cost next to nothing where no tool listens. They lie
// where ops are enqueued, so a step that replays a graph has those of its capture only.
#pragma once

#include <cstdint>
#include <vector>

#include "tp/schedule/schedule.h"

namespace tp::nccl {

// The range of the phase of the ops that follow, on this thread.
class PhaseScope {
 public:
  ~PhaseScope();
  // Ends the phase before; nothing where it is the same.
  void Enter(Phase phase);

 private:
  bool entered_ = false;
  Phase phase_ = Phase::kForward;
};

// What is noted of an op while it is enqueued. Whoever calls CUDA for it, NCCL's own threads among
// them, does so within these times.
struct OpNote {
  int64_t begin_ns = 0;  // std::chrono::steady_clock
  int64_t end_ns = 0;
};

// While it lives, this thread enqueues or captures the op.
class OpScope {
 public:
  OpScope(int index, const ScheduledOp& op);
  ~OpScope();
  OpScope(const OpScope&) = delete;
  OpScope& operator=(const OpScope&) = delete;

  // From now on this thread notes its ops in `notes`, which has a place for each; null: nowhere.
  static void NoteIn(std::vector<OpNote>* notes);

 private:
  const int index_;
};

}  // namespace tp::nccl
