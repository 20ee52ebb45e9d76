// The CPU backend: every all_reduce algorithm, on threads at full speed and on seeded schedules.
#include <chrono>
#include <iterator>

#include "backends/cpu/backend.h"
#include "sim/collectives/algorithm.h"
#include "tests/conformance/conformance.h"
#include "tests/core/sanitized.h"

namespace tp::conformance {
namespace {

// Under a sanitizer a run takes about fifty times as long; tests/sim runs every algorithm there.
// The free scheduler then takes one type a mesh, in turns; the seeded one, whose twin is free,
// takes all. Changes of placement take one type a mesh on both, and on the free one every third
// mesh.
constexpr int kSeeds = kSanitized ? 1 : 5;
constexpr auto& kFreely = kSanitized ? EveryMesh : AllParams;
constexpr size_t kEvery = kSanitized ? 3 : 1;

std::vector<sim::Algorithm> Algorithms() {
  if (kSanitized) return {sim::Algorithm::kAuto};
  return {std::begin(sim::kAllAlgorithms), std::end(sim::kAllAlgorithms)};
}

MakeBackend Make(cpu::SchedulerKind scheduler, uint64_t seed, sim::Algorithm algorithm) {
  return [=] {
    cpu::CpuBackendOptions options;
    options.scheduler = scheduler;
    options.scheduler_seed = seed;
    options.all_reduce = algorithm;
    return cpu::MakeCpuBackend(options);
  };
}

Subject SimSubject(const std::string& name, const MakeBackend& make) {
  return {name, make, /*max_world=*/24, {std::begin(kAllDTypes), std::end(kAllDTypes)}, {}};
}

// Sums cut into as many parts as there may be.
Subject Parts() {
  Subject subject = SimSubject("parts", [] {
    cpu::CpuBackendOptions options;
    options.lower.sum_part_bytes = 1;
    return cpu::MakeCpuBackend(options);
  });
  subject.dtypes = {DType::kFloat32, DType::kBFloat16};
  return subject;
}

Subject Free() {
  return SimSubject("free", Make(cpu::SchedulerKind::kFree, 0, sim::Algorithm::kAuto));
}

// On the seeded scheduler; the free one and other seeds must give the same bits.
Subject Seeded(sim::Algorithm algorithm) {
  Subject subject =
      SimSubject(sim::Name(algorithm), Make(cpu::SchedulerKind::kSeeded, 0, algorithm));
  subject.twins.push_back(Make(cpu::SchedulerKind::kFree, 0, algorithm));
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    subject.twins.push_back(Make(cpu::SchedulerKind::kSeeded, seed, algorithm));
  }
  return subject;
}

// How a sum is rounded has little to do with how it travels: all types for the default algorithm,
// and for each other one two types in turns.
std::vector<Param> SeededParams() {
  std::vector<Param> params;
  for (sim::Algorithm algorithm : Algorithms()) {
    Subject subject = Seeded(algorithm);
    subject.first_turn = static_cast<int>(algorithm);
    const bool all = algorithm == sim::Algorithm::kAuto;
    if (!all) subject.dtypes = {DType::kFloat32, DType::kBFloat16};
    for (const Param& param : all ? AllParams(subject) : EveryMesh(subject)) {
      params.push_back(param);
    }
  }
  return params;
}

std::vector<Param> FreeChanges() {
  const std::vector<Param> all = ParamsOf(Free(), DType::kFloat32);
  std::vector<Param> params;
  for (size_t i = 0; i < all.size(); i += kEvery) params.push_back(all[i]);
  return params;
}

INSTANTIATE_TEST_SUITE_P(Free, LinearStepTest, testing::ValuesIn(kFreely(Free())), ParamName);
INSTANTIATE_TEST_SUITE_P(Parts, LinearStepTest, testing::ValuesIn(kFreely(Parts())), ParamName);
INSTANTIATE_TEST_SUITE_P(Seeded, LinearStepTest, testing::ValuesIn(SeededParams()), ParamName);
INSTANTIATE_TEST_SUITE_P(Free, RedistributeTest, testing::ValuesIn(FreeChanges()), ParamName);
INSTANTIATE_TEST_SUITE_P(Seeded, RedistributeTest,
                         testing::ValuesIn(kFreely(Seeded(sim::Algorithm::kAuto))), ParamName);

}  // namespace
}  // namespace tp::conformance
