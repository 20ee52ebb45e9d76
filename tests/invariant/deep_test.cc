// A deep program in the invariant order: the same bits for every tp. Its values are read twice, so
// that gradients are sums of what must be complete before it is added.
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "backends/cpu/backend.h"
#include "tests/program/deep_chain.h"
#include "tools/measure/train.h"
#include "tp/core/random.h"
#include "tp/passes/passes.h"

namespace tp {
namespace {

TrainResult TrainOver(int tp) {
  const Mesh mesh = *Mesh::Create(tp, 1);
  Program program =
      MakeDeepChain({.layers = 5, .tokens = 21, .features = 45, .sum_order = SumOrder::kInvariant});
  EXPECT_EQ(Verify(program).ToString(), "OK");
  Optimize(program, mesh);
  std::map<std::string, ElementSource> sources;
  uint64_t stream = 0;
  for (const Op& op : program.ops()) {
    if (!op.IsSource()) continue;
    const RandomTensor random(/*seed=*/3, stream++);
    sources[program.value(op.outputs[0]).name] = [random](int64_t i) {
      return random.Uniform(static_cast<uint64_t>(i)) / 8;
    };
  }
  TrainOptions options;
  options.warmup = 0;
  options.steps = 3;
  auto result = Train(*cpu::MakeCpuBackend({}), mesh, program, sources, options);
  EXPECT_TRUE(result.ok()) << result.status().ToString();
  return *std::move(result);
}

TEST(InvariantOrder, GivesADeepProgramTheSameBitsForEveryTp) {
  const TrainResult alone = TrainOver(1);
  for (int tp : {2, 3, 4, 6, 8}) {
    const TrainResult split = TrainOver(tp);
    EXPECT_EQ(split.losses, alone.losses) << "tp " << tp;
    for (const auto& [name, tensor] : alone.last) {
      EXPECT_EQ(split.last.at(name).ToDoubles(), tensor.ToDoubles()) << "tp " << tp << " " << name;
    }
  }
}

}  // namespace
}  // namespace tp
