// How long it takes to plan a step of 10,000 ops for 64 ranks, stage by stage.
//
//   ./bazelw run //tests/benchmarks:plan
#include <fmt/format.h>
#include <glog/logging.h>

#include <cstdio>
#include <string_view>
#include <vector>

#include "tests/program/deep_chain.h"
#include "tp/core/clock.h"
#include "tp/passes/passes.h"
#include "tp/schedule/hazards.h"
#include "tp/schedule/lower.h"
#include "tp/schedule/memory.h"

namespace tp {
namespace {

constexpr int kLayers = 620;

// Prints how long each stage took.
class Stages {
 public:
  void End(std::string_view stage) {
    const int64_t now = SteadyNanoseconds();
    fmt::print("{:<28}{:>9.1f} ms\n", stage, static_cast<double>(now - begin_ns_) / 1e6);
    std::fflush(stdout);
    begin_ns_ = SteadyNanoseconds();
  }

 private:
  int64_t begin_ns_ = SteadyNanoseconds();
};

void Run(const LowerOptions& options) {
  const Mesh mesh = Mesh::Create(8, 8).value();
  Stages stages;
  Program program = MakeDeepChain({.layers = kLayers, .tokens = 512, .features = 1024});
  const size_t ops = program.ops().size();
  stages.End(fmt::format("build and reverse ({} ops)", ops));
  Optimize(program, mesh);
  stages.End("passes");
  CHECK(Verify(program).ok());
  stages.End("verify");
  const std::vector<Schedule> schedules = LowerAll(program, mesh, options).value();
  stages.End("lower, 64 ranks");
  for (const Schedule& schedule : schedules) CHECK(CheckHazards(schedule).ok());
  stages.End("hazards, 64 ranks");
  const double bound = static_cast<double>(MostLiveBytes(schedules[0]));
  fmt::print(
      "{} ops a schedule; arena {:.1f} MB, {:.4f} of the most that lives at one time; "
      "without reuse {:.4f}\n",
      schedules[0].ops.size(), static_cast<double>(ArenaOf(schedules[0]).bytes) / 1e6,
      static_cast<double>(ArenaOf(schedules[0]).bytes) / bound,
      static_cast<double>(BytesWithoutReuse(schedules[0])) / bound);
}

}  // namespace
}  // namespace tp

int main() {
  tp::Run({});
  tp::Run({.sum_part_bytes = 1 << 16});
  return 0;
}
