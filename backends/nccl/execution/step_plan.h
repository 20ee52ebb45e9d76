// StepPlan: the ops of a Schedule as launches on streams, and everything these need.
//
// Built once: addresses, matrix products with the algorithm chosen, scratch memory, and the way of
// each collective: over peer memory where all of its group reach one another's, else by NCCL.
// Enqueue then puts a step on the rank's streams, forked from the compute stream and joined to it
// again, so that it can be captured.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backends/nccl/collectives/collectives.h"
#include "backends/nccl/collectives/peer_collective.h"
#include "backends/nccl/collectives/peer_memory.h"
#include "backends/nccl/execution/arena.h"
#include "backends/nccl/execution/launch_groups.h"
#include "backends/nccl/execution/rank.h"
#include "backends/nccl/execution/turn_order.h"
#include "backends/nccl/kernels/gemm.h"
#include "backends/nccl/kernels/kernel.h"
#include "backends/nccl/kernels/kernels.h"
#include "tp/core/status.h"
#include "tp/runtime/executor.h"
#include "tp/schedule/schedule.h"

namespace tp::nccl {

class StepPlan {
 public:
  // Called by all ranks alike. Buffers are zero afterwards. Both arguments outlive the plan.
  static StatusOr<std::unique_ptr<StepPlan>> Build(Rank& rank, const Schedule& schedule);
  ~StepPlan();
  StepPlan(const StepPlan&) = delete;
  StepPlan& operator=(const StepPlan&) = delete;

  Arena& arena() { return *arena_; }
  AllocatedMemory Allocated() const {
    return {arena_->buffer_bytes(), arena_->bytes() - arena_->buffer_bytes() + scratch_bytes_};
  }
  // The op in whose launch this op is: itself, or the last one of its group (launch_groups.h).
  int LaunchedWith(int op) const;
  // Of a collective: how it is done, what that algorithm says that all members of its group send,
  // and what one of them sends; in bytes.
  std::string AlgorithmOf(int op) const;
  int64_t StatedBytesOf(int op) const;
  int64_t BytesSentBy(int op, int member) const;

  // The turns that op `op` awaits before it begins, or, as the last op, at the step's end
  // (turn_order.h); what waits for them is launched with it.
  std::vector<int> AwaitedWith(int op) const;
  // Whether each member sends to one other, and is known to have (PeerCollective::turn).
  bool IsTurn(int op) const;

  // Events around each op, on its stream; of a turn, to when the other member's block has come.
  // Absent, ops are not timed.
  struct OpEvents {
    cudaEvent_t begin = nullptr;
    cudaEvent_t end = nullptr;
  };
  // Comes before Enqueue, on the compute stream.
  Status BeginStep(StepKind kind);
  // `begin`, if given, is recorded before all ops. `held`, if given, is called once: behind as many
  // ops as a stream that stands still takes, or behind the last. The driver keeps about a thousand
  // launches for a stream; the one after them waits, for ever if nothing lets the stream go.
  Status Enqueue(StepKind kind, const std::vector<OpEvents>* events = nullptr,
                 cudaEvent_t begin = nullptr, const std::function<Status()>& held = nullptr);
  // In order, on the compute stream.
  Status EnqueueAllButCollectives();

 private:
  using Launch = std::function<Status(cudaStream_t)>;

  StepPlan(Rank& rank, const Schedule& schedule) : rank_(rank), schedule_(schedule) {}
  Status MakeArena();
  GemmOptions OptionsOfGemms() const { return {.tf32 = rank_.options().tf32}; }
  Status MakeScratch();
  Status MakePeers();
  Status AgreeOnPeers();
  std::vector<PeerMember> MembersOf(int collective) const;
  std::string DescribeCollectives() const;
  Status MakeCommunicators();
  Status MakeStreams();
  Status MakeEvents();
  Status LetBegin(int collective);
  Status PlanTurns();
  unsigned* StepNumber() const;
  Status EnqueueOp(StepKind kind, int op, const std::vector<OpEvents>* events);
  Status EnqueueTurn(int op, cudaStream_t stream);
  Status TellOfTurn(int op, cudaEvent_t arrived);
  Status AwaitTurns(const std::vector<int>& turns, cudaStream_t stream);
  bool HasEnded(int earlier, int at) const;
  bool MeetsBeforeCopies(int collective) const;
  // Whether the op behind it waits for its begin, while a step is enqueued.
  bool IsAwaited(int collective) const;
  Status MakeLaunches();
  Status SearchGemms();
  StatusOr<Launch> MakeLaunch(int op);
  KernelCall CallOf(const ScheduledOp& op) const;
  std::vector<KernelCall> CallsOf(const LaunchGroup& group) const;
  Launch MakeGroup(const LaunchGroup& group) const;
  StatusOr<Launch> MakeGemm(int op);
  Launch MakeLoopedGemm(const ScheduledOp& op) const;
  Launch MakeCollective(int op);
  DeviceMatrix At(const View& view) const {
    return {AddressOf(view),   schedule_.buffers[view.buffer].dtype,
            view.rows(),       view.columns(),
            view.row_stride(), view.column_stride()};
  }
  char* AddressOf(const View& view) const;
  bool Runs(StepKind kind, int op) const {
    return kind == StepKind::kWhole || IsProduct(schedule_.ops[op].action);
  }

  Rank& rank_;
  const Schedule& schedule_;
  std::unique_ptr<Arena> arena_;
  std::vector<int> collectives_;        // ops, in order
  std::unique_ptr<PeerMemory> memory_;  // null where no collective runs over it
  std::vector<bool> over_peers_;        // by collective: on all ranks alike; else by NCCL
  std::vector<std::unique_ptr<PeerCollective>> peers_;  // by op; null where NCCL does it, or nobody
  std::vector<Communicator*> communicators_;            // by op; null but for NCCL's
  bool has_turns_ = false;
  std::vector<std::vector<int>> awaited_;  // by op, and of the end: the turns that it awaits
  std::vector<bool> meets_;                // by op: a turn before which members meet
  Scratch scratch_;
  int64_t scratch_bytes_ = 0;     // beside the arena
  void* gemm_scratch_ = nullptr;  // GemmContext::scratch of this plan's products
  std::vector<std::unique_ptr<Gemm>> gemms_;
  std::vector<LaunchGroup> groups_;
  std::vector<Launch> launches_;    // by op; of a group's ops the last one's launches all
  std::vector<cudaEvent_t> ended_;  // by op; null where no op of another stream waits for it
  std::vector<cudaEvent_t> begun_;  // by op; null where nobody waits for its begin
  std::vector<int> goes_after_;     // by op: the one whose begin it waits for, or -1
  // While a step is enqueued: not into a graph; behind a gate, as one is whose ops are looked at.
  bool one_by_one_ = true;
  bool measured_ = false;
  cudaEvent_t fork_ = nullptr;
  // The streams beside the compute stream that ops are on, and what joins each to it again.
  std::vector<Stream> communication_;
  std::vector<cudaEvent_t> joins_;
};

}  // namespace tp::nccl
