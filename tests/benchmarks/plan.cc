// How long it takes to plan a step of 10,000 ops for 64 ranks, stage by stage, and how much of its
// memory is used again; the least that there can be is what lives at one time.
//
//   ./bazelw run //tests/benchmarks:plan
#include <fmt/format.h>
#include <glog/logging.h>

#include <algorithm>
#include <cstdio>
#include <random>
#include <string_view>
#include <vector>

#include "tests/program/deep_chain.h"
#include "tests/programs/printed.h"
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
    const int64_t now = HostClock().NowNs();
    fmt::print("{:<28}{:>9.1f} ms\n", stage, static_cast<double>(now - begin_ns_) / 1e6);
    std::fflush(stdout);
    begin_ns_ = HostClock().NowNs();
  }

 private:
  int64_t begin_ns_ = HostClock().NowNs();
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

// Steps of random lives on two streams.
void RunRandom() {
  constexpr int kTrials = 200, kBuffers = 300, kOps = 400;
  std::mt19937_64 random(1);
  const auto below = [&](int n) { return static_cast<int>(random() % n); };
  double worst = 1, sum = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    Schedule schedule;
    schedule.ops.resize(kOps);
    const int streams = trial % 2 + 1;
    for (ScheduledOp& op : schedule.ops) op.stream = static_cast<Stream>(below(streams));
    for (int buffer = 0; buffer < kBuffers; ++buffer) {
      const int64_t elements = (int64_t{1} << (8 + below(12))) + below(256);
      schedule.buffers.push_back({"b", DType::kFloat32, elements});
      const int first = below(kOps);
      const int last = std::min(kOps - 1, first + 1 + below(1 << below(8)));
      for (int op : {first, last}) {
        schedule.ops[op].writes.push_back(PackedView(buffer, 0, {elements}, Order::Own(1)));
      }
    }
    OrderConflicts(schedule);
    MemoryPlanner().Place(schedule, Keep::kNeeded);
    CHECK(CheckHazards(schedule).ok());
    const double ratio =
        static_cast<double>(ArenaOf(schedule).bytes) / static_cast<double>(MostLiveBytes(schedule));
    worst = std::max(worst, ratio);
    sum += ratio;
    if (trial + 2 >= kTrials) {
      fmt::print(
          "{} stream(s): of {} buffers {:.3f} of what lives at one time, without reuse {:.1f}\n",
          streams, kBuffers, ratio,
          static_cast<double>(BytesWithoutReuse(schedule)) /
              static_cast<double>(MostLiveBytes(schedule)));
    }
  }
  fmt::print("random lives: mean {:.3f}, worst {:.3f} of what lives at one time\n", sum / kTrials,
             worst);
}

}  // namespace
}  // namespace tp

int main() {
  tp::RunRandom();
  tp::Run({});
  tp::Run({.sum_part_bytes = 1 << 16});
  return tp::Printed(0);
}
