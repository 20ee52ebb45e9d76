// Executor on the CPU: one worker a stream, collectives through the simulator.
//
// Each stream that has ops gets an agent of the fabric's scheduler, which runs the stream's ops in
// order and waits where the Schedule says; handing over a step is one Raise. Under the seeded
// scheduler the same workers run one at a time, in an order that the seed picks.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "sim/collectives/algorithm.h"
#include "sim/fabric/fabric.h"
#include "tp/core/clock.h"
#include "tp/core/status.h"
#include "tp/runtime/executor.h"
#include "tp/schedule/schedule.h"

namespace tp::cpu {

// What an executor shares with its workers. Its groups own its buffers too: another rank may still
// read them when this one has already failed.
class ExecutorState;

class CpuExecutor final : public Executor {
 public:
  // `index` counts the executors that this rank has made: it tells their groups apart, and all
  // ranks make them in the same order. Where each rank can have a core of its own and `own_cores`
  // says so, the compute worker stays on one: left alone, the system is slow to part two that began
  // on the same core. Records are made on `clock`, which outlives it. Errors: a schedule that
  // races, or too little memory.
  static StatusOr<std::unique_ptr<CpuExecutor>> Create(sim::Fabric& fabric,
                                                       const Schedule& schedule,
                                                       sim::Algorithm all_reduce, int index,
                                                       bool own_cores, const Clock& clock);
  // Waits for nothing: steps that were enqueued still run to their end, then the workers stop.
  ~CpuExecutor() override;

  Status Write(BufferId buffer, std::span<const std::byte> bytes) override;
  Status Read(BufferId buffer, std::span<std::byte> bytes) override;
  Status Feed(const Region& region, std::span<const std::byte> bytes) override;
  Status EnqueueStep(StepKind kind) override;
  Status Synchronize() override;
  void TimeOps(bool) override {}
  bool OpTimesAreFree() const override { return true; }
  Status Profile(bool) override { return OkStatus(); }  // a step always records what there is
  StatusOr<StepRecord> CollectProfile() override { return LastStep(); }
  DeviceInfo Device() const override;
  AllocatedMemory Allocated() const override;
  const StepRecord& LastStep() const override;
  std::string AlgorithmOf(int index) const override;
  int64_t ExpectedBytes(int index) const override;

 private:
  explicit CpuExecutor(std::shared_ptr<ExecutorState> state);

  std::shared_ptr<ExecutorState> state_;
};

}  // namespace tp::cpu
