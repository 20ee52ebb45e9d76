// No false alarm of random Programs on the CPU backend, in every order that its scheduler and its
// algorithms have.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include "backends/cpu/backend.h"
#include "backends/cpu/functions.h"
#include "tests/schedule/random_program.h"
#include "tests/verify/random_alarm.h"

namespace tp::verify {
namespace {

std::unique_ptr<Backend> DrawBackend(SumOrder order) {
  cpu::CpuBackendOptions cpu;
  cpu.scheduler = cpu::SchedulerKind::kSeeded;
  cpu.scheduler_seed = *rc::gen::inRange<uint64_t>(0, 1000);
  cpu.all_reduce = *rc::gen::element(sim::Algorithm::kAuto, sim::Algorithm::kRing,
                                     sim::Algorithm::kTree, sim::Algorithm::kHalvingDoubling);
  if (order == SumOrder::kFast && *rc::gen::arbitrary<bool>()) cpu.lower.sum_part_bytes = 1;
  RC_LOG() << "all-reduce " << sim::Name(cpu.all_reduce) << ", sums in parts of "
           << cpu.lower.sum_part_bytes << " bytes\n";
  return cpu::MakeCpuBackend(cpu);
}

RC_GTEST_PROP(RandomPrograms, RaiseNoAlarm, ()) {
  const auto arithmetic = [](DType, SumOrder) {
    Arithmetic ieee;
    ieee.functions = cpu::ErrorsOfFunctions();
    return ieee;
  };
  ExpectNoAlarm({DrawBackend, arithmetic}, DrawMesh());
}

}  // namespace
}  // namespace tp::verify
