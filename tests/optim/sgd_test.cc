#include "tp/optim/sgd.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/program/programs.h"
#include "tp/ops/all.h"

namespace tp {
namespace {

using testing::HasSubstr;

TEST(Sgd, UpdatesEachParameterByItsGradient) {
  Program program;
  const ValueId w = Parameter(program, "w", {4, 6}, On(Axis::kTp, Shard(0)));
  const ValueId b = Parameter(program, "b", {4});
  const ValueId dw = Input(program, "dw", {4, 6}, On(Axis::kTp, Shard(0)));
  const ValueId db = Input(program, "db", {4});
  ASSERT_TRUE(AddSgd(program, {w, b}, {dw, db}, 0.25).ok());
  ASSERT_EQ(program.ops().size(), 6u);
  const Op& update_w = program.ops()[4];
  EXPECT_TRUE(update_w.Is(kSgdUpdate));
  EXPECT_EQ(update_w.phase, Phase::kOptimizer);
  EXPECT_EQ(update_w.inputs, (std::vector<ValueId>{w, dw}));
  EXPECT_EQ(update_w.attributes.Number("rate"), 0.25);
  EXPECT_EQ(program.value(update_w.outputs[0]).name, "w.updated");
  EXPECT_EQ(program.ops()[5].inputs, (std::vector<ValueId>{b, db}));
  EXPECT_EQ(program.value(program.ops()[5].outputs[0]).name, "b.updated");
  EXPECT_TRUE(Verify(program).ok());
}

TEST(Sgd, RefusesAPartialGradient) {
  for (Axis axis : kDefaultAxes) {
    Program program;
    const ValueId w = Parameter(program, "w", {4, 6});
    const ValueId dw = Input(program, "dw", {4, 6}, On(axis, Partial()));
    const Status status = AddSgd(program, {w}, {dw}, 0.25);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(), HasSubstr("'w.updated'"));
    EXPECT_THAT(status.message(), HasSubstr("on axis " + std::string(Name(axis)) +
                                            ", 'w' is Replicate and 'dw' is Partial"));
    EXPECT_EQ(program.UpdateOf(w), -1);
  }
}

TEST(SgdDeathTest, NeedsAGradientForEachParameter) {
  Program program;
  const ValueId w = Parameter(program, "w", {4, 6});
  EXPECT_DEATH(static_cast<void>(AddSgd(program, {w}, {}, 0.25)), "Check failed");
}

}  // namespace
}  // namespace tp
