// What a redistribute may change, and how a source may lie.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/program/programs.h"
#include "tp/ops/ops.h"
#include "tp/program/typing.h"

namespace tp {
namespace {

using testing::HasSubstr;

// Short, for the cases below.
const Placement kR = Replicate();
const Placement kS0 = Shard(0);
const Placement kS1 = Shard(1);
const Placement kP = Partial();

TEST(RedistributeRule, MakesNoShardPartial) {
  for (Axis axis : kDefaultAxes) {
    for (Placement from : {kR, kS0, kS1, kP}) {
      for (Placement to : {kR, kS0, kS1, kP}) {
        SCOPED_TRACE(std::string(Name(axis)) + ": " + ToString(from) + " to " + ToString(to));
        Program program;
        const ValueId v = Input(program, "v", {3, 5}, On(axis, from));
        const auto out = AddRedistribute(program, Phase::kForward, "out", v, axis, to);
        ASSERT_EQ(out.ok(), !IsPartial(to) || !IsShard(from));
        if (!out.ok()) {
          EXPECT_EQ(out.status().message(),
                    "redistribute 'out': on axis " + std::string(Name(axis)) +
                        ": nothing can be made Partial from " + ToString(from));
          EXPECT_EQ(program.ops().size(), 1u);
        } else if (from == to) {
          EXPECT_EQ(*out, v);
          EXPECT_EQ(program.ops().size(), 1u);
        } else {
          EXPECT_EQ(program.value(*out).placements, On(axis, to));
          EXPECT_EQ(program.value(*out).name, "out");
        }
      }
    }
  }
}

TEST(RedistributeRule, MixesNoMaximaWithSums) {
  Program program;
  const ValueId v = Input(program, "v", {3, 5}, On(Axis::kTp, Partial(Reduction::kMax)));
  const auto mixed = AddRedistribute(program, Phase::kForward, "out", v, Axis::kDp, kP);
  EXPECT_EQ(mixed.status().message(),
            "redistribute 'out': 'out' is Partial(max) on tp and Partial on dp; redistribute it on "
            "one of them first");
  const auto whole = AddRedistribute(program, Phase::kForward, "whole", v, Axis::kTp, kR);
  EXPECT_TRUE(AddRedistribute(program, Phase::kForward, "out", *whole, Axis::kDp, kP).ok());
}

TEST(RedistributeRule, ChangesTheInnermostAxisOfADimension) {
  Program program;
  const auto f = Phase::kForward;
  const ValueId v = Input(program, "v", {3, 5}, On(Axis::kDp, kS0));
  const ValueId twice = AddRedistribute(program, f, "twice", v, Axis::kTp, kS0).value();
  EXPECT_EQ(ToString(program.value(twice).placements), "{dp: Shard(0), tp: Shard(0)}");
  for (Placement to : {kR, kS1}) {
    const auto outer = AddRedistribute(program, f, "outer", twice, Axis::kDp, to);
    EXPECT_THAT(outer.status().message(),
                HasSubstr("on axis dp: dimension 0 is cut by dp, then tp; a redistribute changes "
                          "the last of them only, tp"));
  }
  const ValueId back = AddRedistribute(program, f, "back", twice, Axis::kTp, kR).value();
  EXPECT_EQ(program.value(back).placements, program.value(v).placements);
  const ValueId other = AddRedistribute(program, f, "other", twice, Axis::kTp, kS1).value();
  EXPECT_EQ(program.value(other).placements, Placements(kS1, kS0));
  EXPECT_EQ(Verify(program).ToString(), "OK");
}

TEST(RedistributeRule, KeepsTheOrderInWhichAxesCut) {
  Program program;
  Placements tp_first(kS0, kS0);
  tp_first.Set(*Axis::Named("kv"), kS0);
  Placements dp_first;
  for (Axis axis : {Axis::kDp, Axis::kTp}) dp_first.Set(axis, kS0);
  Op op;
  op.def = &kRedistribute;
  op.inputs = {Input(program, "v", {3, 5}, tp_first)};
  op.outputs = {program.AddValue(Value{"swapped", {3, 5}, DType::kFloat32, dp_first})};
  EXPECT_THAT(CheckTypes(program, op).message(),
              HasSubstr("from {tp: Shard(0), dp: Shard(0), kv: Shard(0)} to {dp: Shard(0), tp: "
                        "Shard(0)}, the axes that cut a dimension change their order"));
}

TEST(RedistributeRule, ChangesOneAxisAtATime) {
  Program program;
  const ValueId v = Input(program, "v", {3, 5}, Placements(kS0, kS1));
  Op op;
  op.def = &kRedistribute;
  op.inputs = {v};
  op.outputs = {program.AddValue(Value{"both", {3, 5}, DType::kFloat32, {}})};
  EXPECT_THAT(CheckTypes(program, op).message(), HasSubstr("one axis at a time"));
}

TEST(SourceRule, NeedsADimensionToShard) {
  Program program;
  for (Placement p : {Shard(2), Shard(-1)}) {
    const auto out = AddInput(program, Value{"x", {3, 5}, DType::kFloat32, On(Axis::kTp, p)});
    EXPECT_THAT(out.status().message(),
                HasSubstr("'x' of shape [3, 5] has no dimension to be " + ToString(p)));
  }
  EXPECT_FALSE(AddParameter(program, Value{"b", {5}, DType::kFloat32, On(Axis::kDp, kS1)}).ok());
  EXPECT_FALSE(AddInput(program, Value{"s", {}, DType::kFloat32, On(Axis::kTp, kS0)}).ok());
  EXPECT_TRUE(AddInput(program, Value{"x", {3, 5}, DType::kFloat32, Placements(kS1, kS0)}).ok());
  EXPECT_EQ(program.ops().size(), 1u);
}

}  // namespace
}  // namespace tp
