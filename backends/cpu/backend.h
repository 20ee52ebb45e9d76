// The CPU backend: ranks are threads, products run on Eigen, collectives in the simulator.
//
// Called "sim" on the command line, because the communication is simulated: real algorithms moving
// real bytes between ranks that share one machine.
#pragma once

#include <chrono>
#include <memory>

#include "sim/collectives/algorithm.h"
#include "sim/fabric/fabric.h"
#include "tp/core/clock.h"
#include "tp/core/status.h"
#include "tp/runtime/backend.h"

namespace tp::cpu {

enum class SchedulerKind { kFree, kSeeded };

struct CpuBackendOptions {
  // Of every wait of the free scheduler; the seeded one sees a deadlock at once.
  std::chrono::milliseconds deadline{30000};
  SchedulerKind scheduler = SchedulerKind::kFree;
  uint64_t scheduler_seed = 0;
  // Of all_reduce; the other collectives take their own best one.
  sim::Algorithm all_reduce = sim::Algorithm::kAuto;
  LowerOptions lower;
  // On which records are made; it outlives the backend.
  const Clock* clock = &HostClock();
  // For tests that plant faults in the communication.
  sim::Fabric::WrapEndpoint wrap_endpoint;
};

// Any world size; every dtype. A Backend may Run any number of times, one after the other.
std::unique_ptr<Backend> MakeCpuBackend(CpuBackendOptions options);

}  // namespace tp::cpu
