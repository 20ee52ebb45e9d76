// How long it takes to plan a whole training step of a large transformer, and what a rank of it
// holds: nothing is run.
//
//   ./bazelw run //tests/benchmarks:transformer_plan
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <string_view>

#include "tests/programs/printed.h"
#include "tp/core/clock.h"
#include "tp/model/presets.h"
#include "tp/model/transformer.h"
#include "tp/passes/hide_communication.h"
#include "tp/schedule/lower.h"
#include "tp/schedule/memory.h"

namespace tp {
namespace {

struct Case {
  std::string_view preset;
  int tp = 8;
  bool recompute = false;
};

// Of every rank, in one thread.
void Plan(const Case& c) {
  TransformerStepOptions options;
  options.batch = 1;
  options.sequence = 4096;
  options.dtype = DType::kBFloat16;
  options.sequence_parallel = true;
  options.recompute = c.recompute;
  const Mesh mesh = Mesh::Create(c.tp, 1).value();
  const TransformerConfig config = Preset(c.preset).value();
  const int64_t begin = HostClock().NowNs();
  options.overlap = false;
  Program program = MakeTransformerStep(config, options, mesh).value();
  const int64_t built = HostClock().NowNs();
  HideCommunication(program, mesh);
  const int64_t ordered = HostClock().NowNs();
  const auto schedules = LowerAll(program, mesh).value();
  const int64_t end = HostClock().NowNs();
  int64_t bytes = 0, kept = 0;
  for (const Schedule& schedule : schedules) {
    bytes = std::max(bytes, ArenaOf(schedule).bytes);
    int64_t parameters = 0;
    for (const Binding& binding : schedule.bindings) {
      if (!program.ops()[program.DefinitionOf(binding.value)].Is(kParameter)) continue;
      parameters += binding.view.size() * SizeOf(binding.dtype);
    }
    kept = std::max(kept, parameters);
  }
  fmt::print(
      "{}, {:.1f} billion parameters, tp {}, bf16, 1 x {} tokens, sequence parallel{}: {} ops; "
      "built in {:.2f} s, put in order in {:.3f} s, lowered for all ranks in {:.2f} s; a rank "
      "holds {:.2f} GB, of which weights "
      "and "
      "the optimizer's state {:.2f}\n",
      c.preset, static_cast<double>(NumParameters(config)) / 1e9, c.tp, options.sequence,
      c.recompute ? ", recomputed" : "", program.ops().size(),
      static_cast<double>(built - begin) / 1e9, static_cast<double>(ordered - built) / 1e9,
      static_cast<double>(end - ordered) / 1e9, static_cast<double>(bytes) / 1e9,
      static_cast<double>(kept) / 1e9);
  std::fflush(stdout);
}

}  // namespace
}  // namespace tp

int main() {
  for (const tp::Case& c : {tp::Case{"llama3-8b"}, tp::Case{"llama3-8b", 8, true},
                            tp::Case{"llama3-70b", 8, true}, tp::Case{"smollm2-135m", 4}}) {
    tp::Plan(c);
  }
  return tp::Printed(0);
}
