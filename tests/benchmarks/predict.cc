// How fast steps are predicted: messages a second of a collective, a step of llama3-70b on 1,024
// ranks, and its program's layers one by one.
//
//   ./bazelw run //tests/benchmarks:predict
#include <fmt/format.h>
#include <glog/logging.h>

#include <numeric>
#include <string_view>
#include <vector>

#include "backends/predict/collective_timer.h"
#include "backends/predict/cost_model.h"
#include "backends/predict/world.h"
#include "sim/collectives/record.h"
#include "sim/timed/timed_collective.h"
#include "sim/topology/machine.h"
#include "tests/programs/printed.h"
#include "tp/core/clock.h"
#include "tp/core/dtype.h"
#include "tp/core/mesh.h"
#include "tp/model/presets.h"
#include "tp/model/transformer.h"

namespace tp::predict {
namespace {

double Milliseconds(int64_t begin_ns) {
  return static_cast<double>(HostClock().NowNs() - begin_ns) / 1e6;
}

void TimeMessages(sim::Algorithm algorithm, CollectiveKind kind, int members) {
  sim::Machine machine = sim::PresetMachine("h100x8-ib400").value();
  machine.devices_per_node = members;
  CollectiveCall call = {.kind = kind, .dtype = DType::kBFloat16, .counts = {}};
  constexpr int64_t kElements = int64_t{1} << 26;
  if (kind == CollectiveKind::kAllReduce) call.counts = {kElements};
  if (kind == CollectiveKind::kAllToAll) {
    call.counts.assign(static_cast<size_t>(members) * members, kElements / members / members);
  }
  std::vector<int> devices(members);
  std::iota(devices.begin(), devices.end(), 0);
  const auto touches = sim::Record(call, algorithm, members);
  const int64_t begin = HostClock().NowNs();
  const sim::TimedCollective timed = sim::TimeMessages(touches, machine, devices);
  const double ms = Milliseconds(begin);
  fmt::print("{:<12}{:<18}{:>6} members {:>9} messages {:>9.1f} ms {:>7.2f} M/s\n", Name(kind),
             sim::Name(algorithm), members, timed.messages, ms,
             static_cast<double>(timed.messages) / ms / 1e3);
}

void TimeStep(std::string_view model, int tp, int dp) {
  const sim::Machine machine = sim::PresetMachine("h100x8-ib400").value();
  const CostModel costs(machine);
  CollectiveTimer timer(costs, sim::Algorithm::kAuto);
  const Mesh mesh = Mesh::Create(tp, dp).value();
  TransformerStepOptions options;
  options.batch = dp;
  options.sequence = 4096;
  options.dtype = DType::kBFloat16;
  options.sequence_parallel = true;
  int64_t begin = HostClock().NowNs();
  const Program program = MakeTransformerStep(Preset(model).value(), options, mesh).value();
  fmt::print("{} tp {} dp {}: program of {} ops {:.0f} ms\n", model, tp, dp, program.ops().size(),
             Milliseconds(begin));
  begin = HostClock().NowNs();
  const Prediction prediction = Predict(program, mesh, costs, timer, WorldOptions()).value();
  fmt::print(
      "  predicted {:.1f} ms, closed {:.1f} ms, {} of {} ranks replayed, {} events, {} "
      "messages: {:.0f} ms\n",
      prediction.seconds * 1e3, prediction.closed_seconds * 1e3, prediction.ranks.size(),
      mesh.world(), prediction.events, timer.messages(), Milliseconds(begin));
}

}  // namespace
}  // namespace tp::predict

int main() {
  using tp::CollectiveKind;
  using tp::sim::Algorithm;
  tp::predict::TimeMessages(Algorithm::kRing, CollectiveKind::kAllReduce, 16);
  tp::predict::TimeMessages(Algorithm::kRing, CollectiveKind::kAllReduce, 64);
  tp::predict::TimeMessages(Algorithm::kRing, CollectiveKind::kAllReduce, 256);
  tp::predict::TimeMessages(Algorithm::kRing, CollectiveKind::kAllReduce, 1024);
  tp::predict::TimeMessages(Algorithm::kDirect, CollectiveKind::kAllToAll, 256);
  tp::predict::TimeStep("llama3-70b", 8, 128);
  tp::predict::TimeStep("llama3-8b", 8, 128);
  return tp::Printed(0);
}
