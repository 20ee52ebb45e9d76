#include "tp/layers/linear.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/program/programs.h"

namespace tp {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(LinearMode, NamesParseBack) {
  for (LinearMode mode : {LinearMode::kRow, LinearMode::kColumn}) {
    EXPECT_EQ(ParseLinearMode(Name(mode)), mode);
  }
  EXPECT_EQ(Name(LinearMode::kRow), "row");
  EXPECT_EQ(Name(LinearMode::kColumn), "column");
  EXPECT_EQ(ParseLinearMode("both"), std::nullopt);
  EXPECT_EQ(ParseLinearMode(""), std::nullopt);
}

TEST(Linear, RowShardsTheRowsOfWAndGathers) {
  Program program;
  Builder builder(program);
  const ValueId x = Input(program, "x", {20, 6}, On(Axis::kDp, Shard(0)), DType::kBFloat16);
  const Linear linear = AddLinear(builder, LinearMode::kRow, 10, x);
  EXPECT_EQ(program.value(linear.w).placements, Placements(Shard(0), Replicate()));
  EXPECT_EQ(program.value(linear.b).placements, Placements(Shard(0), Replicate()));
  EXPECT_THAT(OpNames(program), ElementsAre("matmul", "add_bias", "redistribute"));
  EXPECT_THAT(Redistributes(program), ElementsAre("forward y: tp Shard(1) -> Replicate"));
}

TEST(Linear, ColumnShardsTheColumnsOfWAndReducesBeforeTheBias) {
  Program program;
  Builder builder(program);
  const ValueId x = Input(program, "x", {20, 6}, On(Axis::kDp, Shard(0)), DType::kBFloat16);
  const Linear linear = AddLinear(builder, LinearMode::kColumn, 10, x);
  EXPECT_EQ(program.value(linear.w).placements, Placements(Shard(1), Replicate()));
  EXPECT_EQ(program.value(linear.b).placements, Placements(Replicate(), Replicate()));
  EXPECT_THAT(OpNames(program), ElementsAre("redistribute", "matmul", "redistribute", "add_bias"));
  EXPECT_THAT(Redistributes(program), ElementsAre("forward x.shard: tp Replicate -> Shard(1)",
                                                  "forward xw: tp Partial -> Replicate"));
}

TEST(Linear, ModesCanTakeEachOthersPlace) {
  for (LinearMode mode : {LinearMode::kRow, LinearMode::kColumn}) {
    Program program;
    Builder builder(program);
    const ValueId x = Input(program, "x", {20, 6}, On(Axis::kDp, Shard(0)), DType::kBFloat16);
    const Linear linear = AddLinear(builder, mode, 10, x);
    EXPECT_EQ(program.value(linear.w).name, "w");
    EXPECT_EQ(program.value(linear.w).shape, (Shape{10, 6}));
    EXPECT_EQ(program.value(linear.b).name, "b");
    EXPECT_EQ(program.value(linear.b).shape, Shape{10});
    EXPECT_EQ(program.value(linear.y).name, "y");
    EXPECT_EQ(program.value(linear.y).shape, (Shape{20, 10}));
    EXPECT_EQ(program.value(linear.y).dtype, DType::kBFloat16);
    EXPECT_EQ(program.value(linear.y).placements, Placements(Replicate(), Shard(0)));
    EXPECT_TRUE(Verify(program).ok());
  }
}

TEST(Linear, TakesAMatrixThatIsReplicatedOverTp) {
  for (LinearMode mode : {LinearMode::kRow, LinearMode::kColumn}) {
    for (Placement on_tp : {Shard(0), Shard(1), Partial()}) {
      Program program;
      Builder builder(program);
      const ValueId x = Input(program, "x", {20, 6}, On(Axis::kTp, on_tp));
      AddLinear(builder, mode, 10, x);
      EXPECT_THAT(builder.status().message(),
                  HasSubstr("'x' is [20, 6] {tp: " + ToString(on_tp) +
                            ", dp: Replicate}; it must be a matrix, replicated over tp"));
    }
    Program program;
    Builder builder(program);
    const ValueId v = Input(program, "v", {20});
    AddLinear(builder, mode, 10, v);
    EXPECT_FALSE(builder.status().ok());
  }
}

}  // namespace
}  // namespace tp
