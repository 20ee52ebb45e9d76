// The arena of a rank on a GPU: it is what the plan says, and memory that is used again changes no
// bit, whatever way the collectives take.
#include <glog/logging.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backends/nccl/control/local_control.h"
#include "backends/nccl/execution/rank.h"
#include "backends/nccl/execution/step_plan.h"
#include "tests/backends/nccl/gpus.h"
#include "tests/backends/nccl/small_step.h"
#include "tests/program/deep_chain.h"
#include "tp/passes/passes.h"
#include "tp/schedule/lower.h"
#include "tp/schedule/memory.h"

namespace tp::nccl {
namespace {

Program Deep(const Mesh& mesh) {
  Program program = MakeDeepChain({.layers = 6, .tokens = 64, .features = 200});
  Optimize(program, mesh);
  return program;
}

TEST(GpuMemory, ARankAllocatesTheArenaThatWasPlanned) {
  const Mesh mesh = *Mesh::Create(1, 1);
  const Program program = Deep(mesh);
  const auto controls = MakeLocalControls(1);
  for (Keep keep : {Keep::kNeeded, Keep::kAll}) {
    const Schedule schedule = *Lower(program, mesh, 0, {.keep = keep});
    const int64_t planned = ArenaOf(schedule).bytes;
    EXPECT_EQ(planned < BytesWithoutReuse(schedule), keep == Keep::kNeeded);
    const auto rank = Rank::Create(0, *controls[0], {.gemm_search = false});
    ASSERT_TRUE(rank.ok()) << rank.status().ToString();
    const auto plan = StepPlan::Build(**rank, schedule);
    ASSERT_TRUE(plan.ok()) << plan.status().ToString();
    EXPECT_EQ((*plan)->arena().bytes(), planned);
  }
}

TEST(GpuMemory, MemoryThatIsUsedAgainChangesNoBit) {
  const int world = std::min(2, CountGpus());
  const Mesh mesh = *Mesh::Create(world, 1);
  const Program program = Deep(mesh);
  std::map<std::string, ElementSource> sources;
  uint64_t stream = 0;
  for (const Op& op : program.ops()) {
    if (!op.IsSource()) continue;
    const RandomTensor random(7, stream++);
    sources[program.value(op.outputs[0]).name] = [random](int64_t i) {
      return random.Uniform(i) / 16;
    };
  }
  for (Peers peers : {Peers::kAuto, Peers::kNever, Peers::kDirect, Peers::kMedium, Peers::kBulk}) {
    for (int64_t part : {int64_t{0}, int64_t{8192}}) {
      std::vector<TrainResult> results;
      for (Keep keep : {Keep::kAll, Keep::kNeeded}) {
        const auto backend = MustMakeBackend({.gemm_search = false,
                                              .peers = peers,
                                              .lower = {.sum_part_bytes = part, .keep = keep}});
        auto trained = Train(*backend, mesh, program, sources, Short());
        ASSERT_TRUE(trained.ok()) << trained.status().ToString();
        results.push_back(*std::move(trained));
      }
      EXPECT_EQ(results[0].losses, results[1].losses) << Name(peers);
      for (const auto& [name, tensor] : results[0].last) {
        EXPECT_EQ(tensor.ToDoubles(), results[1].last.at(name).ToDoubles())
            << Name(peers) << " " << name;
      }
    }
  }
}

}  // namespace
}  // namespace tp::nccl
