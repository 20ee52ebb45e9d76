#include "tp/passes/recompute.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/passes/blocks.h"
#include "tp/schedule/lower.h"
#include "tp/schedule/memory.h"

namespace tp {
namespace {

using testing::HasSubstr;

std::vector<std::string> NamesOfOps(const Program& program, Phase phase) {
  std::vector<std::string> names;
  for (const Op& op : program.ops()) {
    if (op.phase == phase && !op.IsSource()) names.push_back(program.value(op.outputs[0]).name);
  }
  return names;
}

TEST(Recompute, GivesTheSameBits) {
  for (int tp : {1, 2, 3}) {
    for (int dp : {1, 2}) {
      SCOPED_TRACE(testing::Message() << "tp " << tp << " dp " << dp);
      const Mesh mesh = Mesh::Create(tp, dp).value();
      const BlocksOptions keep;
      BlocksOptions recompute;
      recompute.recompute = true;
      EXPECT_EQ(RunStep(MakeBlocks(recompute), recompute, mesh),
                RunStep(MakeBlocks(keep), keep, mesh));
    }
  }
}

// What the backward pass reads is made before it, block by block from the last one on; what only
// the forward pass needs (the sum over ranks here) is not made again.
TEST(Recompute, MakesAgainWhatTheBackwardPassReads) {
  BlocksOptions options;
  options.layers = 2;
  options.recompute = true;
  const std::vector<std::string> names = NamesOfOps(MakeBlocks(options), Phase::kBackward);
  EXPECT_THAT(
      names, testing::ElementsAre("dlayers.1.sum", "dlayers.1.active", "again.layers.1.h",
                                  "again.layers.1.active", "dlayers.1.down.partial", "dlayers.1.h",
                                  "dlayers.0.sum", "dlayers.0.sum.alike", "dlayers.0.sum.2",
                                  "dlayers.1.up.partial", "dlayers.0.y.partial", "dlayers.0.active",
                                  "again.layers.0.h", "again.layers.0.active",
                                  "dlayers.0.down.partial", "dlayers.0.h", "dlayers.0.up.partial"));
}

int64_t ArenaBytes(const BlocksOptions& options, const Mesh& mesh) {
  return ArenaOf(Lower(MakeBlocks(options), mesh, 0).value()).bytes;
}

// A block more costs its input and its parameters, and nothing of what is inside it.
TEST(Recompute, KeepsOneBlocksMemory) {
  const Mesh mesh = Mesh::Create(2, 1).value();
  BlocksOptions options;
  options.batch = 512;
  options.features = 64;
  options.hidden = 1024;
  int64_t more[2];
  for (bool recompute : {false, true}) {
    options.recompute = recompute;
    options.layers = 4;
    more[recompute] = -ArenaBytes(options, mesh);
    options.layers = 5;
    more[recompute] += ArenaBytes(options, mesh);
  }
  const int64_t inside = 2 * options.batch * options.hidden / 2 * 4;  // h and active, on a rank
  EXPECT_EQ(more[false] - more[true], inside);
}

TEST(Recompute, RefusesAProgramWithoutBlocks) {
  Program program = MakeBlocks({});
  const std::string before = ToString(program);
  const Status status = Recompute(program, "blocks");
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("'blocks.0'"));
  EXPECT_EQ(ToString(program), before);
}

}  // namespace
}  // namespace tp
