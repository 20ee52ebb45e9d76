// Memory that is used again changes no bit, whatever the collectives do and in whatever order ops
// run.
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "backends/cpu/backend.h"
#include "tests/program/deep_chain.h"
#include "tools/measure/train.h"
#include "tp/core/random.h"
#include "tp/passes/passes.h"

namespace tp::cpu {
namespace {

std::map<std::string, ElementSource> SourcesOf(const Program& program) {
  std::map<std::string, ElementSource> sources;
  uint64_t stream = 0;
  for (const Op& op : program.ops()) {
    if (!op.IsSource()) continue;
    const RandomTensor random(/*seed=*/3, stream++);
    sources[program.value(op.outputs[0]).name] = [random](int64_t i) {
      return random.Uniform(static_cast<uint64_t>(i)) / 8;
    };
  }
  return sources;
}

TrainResult MustTrain(const Program& program, const Mesh& mesh, CpuBackendOptions options,
                      Keep keep) {
  options.lower.keep = keep;
  TrainOptions train;
  train.warmup = 0;
  train.steps = 2;
  auto result = Train(*MakeCpuBackend(options), mesh, program, SourcesOf(program), train);
  EXPECT_TRUE(result.ok()) << result.status().ToString();
  return *std::move(result);
}

TEST(Memory, ThatIsUsedAgainChangesNoBit) {
  for (const auto& [tp, dp] : {std::pair(2, 2), std::pair(4, 1)}) {
    const Mesh mesh = *Mesh::Create(tp, dp);
    Program program = MakeDeepChain({.layers = 5, .tokens = 21, .features = 45});
    Optimize(program, mesh);
    for (int64_t part : {0, 512}) {
      for (sim::Algorithm algorithm :
           {sim::Algorithm::kDirect, sim::Algorithm::kRing, sim::Algorithm::kTree}) {
        CpuBackendOptions options;
        options.all_reduce = algorithm;
        options.lower.sum_part_bytes = part;
        const TrainResult kept = MustTrain(program, mesh, options, Keep::kAll);
        EXPECT_TRUE(kept.replica_defects.empty());
        for (uint64_t seed = 0; seed < 4; ++seed) {
          options.scheduler = SchedulerKind::kSeeded;
          options.scheduler_seed = seed;
          const TrainResult used = MustTrain(program, mesh, options, Keep::kNeeded);
          EXPECT_EQ(used.losses, kept.losses);
          for (const auto& [name, tensor] : kept.last) {
            EXPECT_EQ(used.last.at(name).ToDoubles(), tensor.ToDoubles()) << name;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace tp::cpu
