#include "tp/passes/micro_batches.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/passes/blocks.h"
#include "tests/program/programs.h"
#include "tp/ops/all.h"
#include "tp/passes/passes.h"
#include "tp/schedule/lower.h"
#include "tp/schedule/memory.h"

namespace tp {
namespace {

// In whole numbers, where no order of sums matters: the same gradients and weights, to the bit.
TEST(MicroBatches, AddUpToTheWholeBatch) {
  for (bool recompute : {false, true}) {
    for (int tp : {1, 2, 3}) {
      for (int dp : {1, 2}) {
        SCOPED_TRACE(testing::Message() << "tp " << tp << " dp " << dp << " again " << recompute);
        const Mesh mesh = Mesh::Create(tp, dp).value();
        const BlocksOptions whole = {.batch = 6, .layers = 2, .integers = true};
        const auto expected = RunStep(MakeBlocks(whole), whole, mesh);
        EXPECT_TRUE(std::any_of(expected.at("dlayers.0.up").begin(),
                                expected.at("dlayers.0.up").end(),
                                [](double x) { return x != 0; }));
        for (int pieces : {2, 3, 6}) {
          BlocksOptions options = whole;
          options.batch = 6 / pieces;
          options.pieces = pieces;
          options.recompute = recompute;
          EXPECT_EQ(RunStep(MakeBlocks(options), options, mesh), expected) << pieces;
        }
      }
    }
  }
}

// Ranks meet once for a gradient, however many pieces add to it.
TEST(MicroBatches, AreSummedOverRanksOnce) {
  const auto count = [](const Program& program) {
    const std::vector<std::string> all = Redistributes(program);
    return std::count_if(all.begin(), all.end(),
                         [](const std::string& line) { return line.starts_with("gradient_sync"); });
  };
  const BlocksOptions options = {.pieces = 3};
  EXPECT_EQ(count(MakeBlocks(options)), 2 * options.layers);
  EXPECT_EQ(count(MakeBlocks({})), 2 * options.layers);
}

// They do so as soon as the last piece has added to it.
TEST(MicroBatches, AreSummedOverRanksWhileOthersWork) {
  const BlocksOptions options = {.pieces = 2};
  Program program = MakeBlocks(options);
  SyncGradientsEarly(program);
  ASSERT_EQ(Verify(program).ToString(), "OK");
  for (size_t i = 0; i < program.ops().size(); ++i) {
    const Op& op = program.ops()[i];
    if (op.phase != Phase::kGradientSync) continue;
    EXPECT_EQ(program.DefinitionOf(op.inputs[0]), static_cast<int>(i) - 1);
    EXPECT_TRUE(program.ops()[i - 1].Is(kAdd));
  }
  const Mesh mesh = Mesh::Create(2, 2).value();
  EXPECT_EQ(RunStep(program, options, mesh), RunStep(MakeBlocks(options), options, mesh));
}

// A piece more costs what it is fed and its loss, and no more: what is inside it lies where the
// piece before had it.
TEST(MicroBatches, TakeTurnsInOneMemory) {
  const Mesh mesh = Mesh::Create(2, 1).value();
  BlocksOptions options = {.batch = 512, .layers = 2, .features = 64, .hidden = 1024};
  const auto bytes = [&](int pieces) {
    options.pieces = pieces;
    return ArenaOf(Lower(MakeBlocks(options), mesh, 0).value()).bytes;
  };
  const int64_t fed = 2 * options.batch * options.features * 4;
  EXPECT_LT(bytes(5) - bytes(4), fed + kArenaAlignment);
}

TEST(MicroBatches, OneIsTheProgramItself) {
  Program program = MakeBlocks({});
  const std::string before = ToString(program);
  const ValueId loss = program.Find("loss").value();
  EXPECT_EQ(RepeatAndSum(program, 1, {loss}).value(), std::vector<ValueId>{loss});
  EXPECT_EQ(ToString(program), before);
  EXPECT_EQ(MicroBatchName("x", 0), "x");
  EXPECT_EQ(MicroBatchName("x", 2), "micro.2.x");
}

}  // namespace
}  // namespace tp
