// One training step of SmolLM2's shape (30 layers, 9 query heads and 3 of keys and values) on the
// CPU backend, held op by op on a sample of each value; and the memory that the step takes in
// training, with its buffers' memory used again and without.
//
//   ./bazelw run //tests/benchmarks:smollm_step -- 4       # tp
#include <fmt/format.h>
#include <glog/logging.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "backends/cpu/backend.h"
#include "backends/cpu/functions.h"
#include "tp/core/clock.h"
#include "tp/model/initial.h"
#include "tp/model/presets.h"
#include "tp/schedule/lower.h"
#include "tp/schedule/memory.h"
#include "tp/verify/observe.h"
#include "tp/verify/op_by_op.h"

namespace tp {
namespace {

constexpr int64_t kSequence = 8;

// Of the rank that takes most. Observing takes more: each value is kept.
void PrintMemory(const Program& program, const Mesh& mesh) {
  const std::vector<Schedule> schedules = LowerAll(program, mesh).value();
  int64_t planned = 0, without_reuse = 0;
  for (const Schedule& schedule : schedules) {
    planned = std::max(planned, ArenaOf(schedule).bytes);
    without_reuse = std::max(without_reuse, BytesWithoutReuse(schedule));
  }
  fmt::print("in training {:.1f} MB a rank; {:.1f} MB without reuse\n",
             static_cast<double>(planned) / 1e6, static_cast<double>(without_reuse) / 1e6);
}

void Run(int tp) {
  const TransformerConfig config = Preset("smollm2-135m").value();
  TransformerStepOptions options;
  options.sequence = kSequence;
  options.sequence_parallel = true;
  const Mesh mesh = Mesh::Create(tp, 1).value();
  const Program program = MakeTransformerStep(config, options, mesh).value();
  PrintMemory(program, mesh);
  std::map<std::string, std::function<double(int64_t)>> sources;
  for (const Op& op : program.ops()) {
    if (!op.Is(kParameter)) continue;
    const std::string& name = program.value(op.outputs[0]).name;
    sources[name] = InitialValue(config, name, /*seed=*/1);
  }
  const auto token = [&](int64_t i) { return static_cast<double>(i * 6151 % config.vocabulary); };
  sources["tokens"] = token;
  sources["targets"] = [&](int64_t i) { return token(i + 1); };
  sources["weights"] = [](int64_t) { return 1.0 / kSequence; };
  sources[kRateInput] = [](int64_t) { return 1e-3; };
  sources[kMomentCorrectionInput] = [](int64_t) { return 1 / (1 - AdamWOptions().beta_moment); };
  sources[kSquareCorrectionInput] = [](int64_t) { return 1 / (1 - AdamWOptions().beta_square); };
  const auto backend = cpu::MakeCpuBackend({});
  const int64_t begin = HostClock().NowNs();
  const auto observed = verify::Observe(*backend, mesh, program, sources).value();
  const int64_t ran = HostClock().NowNs();
  verify::OpByOpOptions checks;
  checks.arithmetic.functions = cpu::ErrorsOfFunctions();
  checks.max_points = 0x1p16;
  const auto report = verify::VerifyOpByOp(program, mesh, observed, checks).value();
  const int64_t held = HostClock().NowNs();
  fmt::print("tp {}: {} ops; made and run in {:.0f} s, held in {:.0f} s\n{}", tp,
             program.ops().size(), static_cast<double>(ran - begin) / 1e9,
             static_cast<double>(held - ran) / 1e9, verify::ToString(report));
  CHECK(report.first_failure() == nullptr);
}

}  // namespace
}  // namespace tp

int main(int argc, char** argv) {
  tp::Run(argc > 1 ? std::atoi(argv[1]) : 2);
  return 0;
}
