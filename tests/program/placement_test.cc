#include "tp/program/placement.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace tp {
namespace {

TEST(Placement, Prints) {
  EXPECT_EQ(ToString(Replicate()), "Replicate");
  EXPECT_EQ(ToString(Shard(1)), "Shard(1)");
  EXPECT_EQ(ToString(Partial()), "Partial");
  EXPECT_EQ(ToString(Placements(Shard(1), Partial())), "{tp: Shard(1), dp: Partial}");
}

TEST(Placement, IsOneOfThree) {
  EXPECT_TRUE(IsReplicate(Replicate()));
  EXPECT_TRUE(IsShard(Shard(0)));
  EXPECT_TRUE(IsShard(Shard(1), 1));
  EXPECT_FALSE(IsShard(Shard(1), 0));
  EXPECT_TRUE(IsPartial(Partial()));
  EXPECT_EQ(ToString(Partial()), "Partial");
  EXPECT_EQ(ToString(Partial(Reduction::kMax)), "Partial(max)");
  EXPECT_FALSE(IsShard(Replicate()));
  EXPECT_FALSE(IsShard(Replicate(), 0));
  EXPECT_FALSE(IsReplicate(Shard(0)));
  EXPECT_FALSE(IsPartial(Replicate()));
}

TEST(Placement, GradientsOfShardsAreShardsAndAllOthersWhole) {
  EXPECT_EQ(Dual(Shard(0)), Shard(0));
  EXPECT_EQ(Dual(Shard(1)), Shard(1));
  EXPECT_EQ(Dual(Replicate()), Replicate());
  EXPECT_EQ(Dual(Partial()), Replicate());
}

TEST(Placements, AreReplicateUnlessSaid) {
  Placements placements;
  EXPECT_EQ(placements, Placements(Replicate(), Replicate()));
  placements.Set(Axis::kDp, Shard(0));
  EXPECT_EQ(placements, Placements(Replicate(), Shard(0)));
  EXPECT_NE(placements, Placements(Shard(0), Replicate()));
}

constexpr Placement kS0 = Shard(0), kS1 = Shard(1), kR = Replicate(), kP = Partial();

Placements Set(const std::vector<std::pair<const char*, Placement>>& in_order) {
  Placements placements;
  for (const auto& [name, placement] : in_order) {
    placements.Set(Axis::Named(name).value(), placement);
  }
  return placements;
}

TEST(Placements, TellTpAndDpAndWhatIsNotReplicate) {
  EXPECT_EQ(ToString(Placements()), "{tp: Replicate, dp: Replicate}");
  EXPECT_EQ(ToString(Set({{"kv", kS1}})), "{tp: Replicate, dp: Replicate, kv: Shard(1)}");
  EXPECT_EQ(ToString(Set({{"pp", kP}, {"kv", kS1}, {"dp", kS0}})),
            "{tp: Replicate, dp: Shard(0), kv: Shard(1), pp: Partial}");
  Placements undone = Set({{"kv", kS1}});
  undone.Set(Axis::Named("kv").value(), kR);
  EXPECT_EQ(undone, Placements());
}

TEST(Placements, KeepTheOrderOfAxesThatCutOneDimension) {
  EXPECT_EQ(ToString(Set({{"tp", kS0}, {"dp", kS0}})), "{tp: Shard(0), dp: Shard(0)}");
  EXPECT_EQ(ToString(Set({{"dp", kS0}, {"tp", kS0}})), "{dp: Shard(0), tp: Shard(0)}");
  EXPECT_NE(Set({{"dp", kS0}, {"tp", kS0}}), Set({{"tp", kS0}, {"dp", kS0}}));
  // Of other dimensions it says nothing.
  EXPECT_EQ(Set({{"dp", kS1}, {"tp", kS0}}), Set({{"tp", kS0}, {"dp", kS1}}));
  const Placements three = Set({{"kv", kS0}, {"dp", kS1}, {"tp", kS0}, {"a", kS0}});
  EXPECT_EQ(ToString(three), "{kv: Shard(0), dp: Shard(1), tp: Shard(0), a: Shard(0)}");
  EXPECT_EQ(three, Set({{"dp", kS1}, {"kv", kS0}, {"tp", kS0}, {"a", kS0}}));
  const std::vector<Axis> cutting = three.Cutting(0);
  ASSERT_EQ(cutting.size(), 3u);
  EXPECT_EQ(Name(cutting[0]), "kv");
  EXPECT_EQ(Name(cutting[2]), "a");
  EXPECT_TRUE(three.IsInnermost(cutting[2]));
  EXPECT_FALSE(three.IsInnermost(cutting[1]));
  EXPECT_TRUE(three.IsInnermost(Axis::kDp));
  // Set to what it is, an axis keeps its place.
  Placements same = three;
  same.Set(cutting[0], kS0);
  EXPECT_EQ(same, three);
}

std::string Steps(const Placements& from, const Placements& to) {
  const auto steps = StepsBetween(from, to);
  if (!steps) return "none";
  std::string text;
  for (const Axis& axis : *steps) text += std::string(Name(axis)) + " ";
  return text;
}

TEST(Placements, StepFromOneToAnotherByTheInnermostAxis) {
  EXPECT_EQ(Steps(Placements(kP, kP), Placements(kR, kS0)), "tp dp ");
  EXPECT_EQ(Steps(Placements(kP, kP), Set({{"dp", kS0}, {"tp", kS0}})), "dp tp ");
  EXPECT_EQ(Steps(Placements(kP, kP), Set({{"tp", kS0}, {"dp", kS0}})), "tp dp ");
  EXPECT_EQ(Steps(Set({{"tp", kS0}, {"dp", kS0}}), Placements()), "dp tp ");
  EXPECT_EQ(Steps(Set({{"dp", kS0}, {"tp", kS0}}), Placements()), "tp dp ");
  EXPECT_EQ(Steps(Set({{"dp", kS0}, {"tp", kS0}}), Set({{"dp", kS0}, {"tp", kS1}})), "tp ");
  EXPECT_EQ(Steps(Set({{"dp", kS0}, {"tp", kS0}}), Set({{"tp", kS0}, {"dp", kS0}})), "none");
  EXPECT_EQ(Steps(Set({{"dp", kS0}}), Set({{"tp", kS0}, {"dp", kS0}})), "none");
  EXPECT_EQ(Steps(Placements(kS0, kP), Placements(kS0, kP)), "");
}

TEST(Placements, DualsKeepTheOrder) {
  EXPECT_EQ(Dual(Set({{"dp", kS0}, {"tp", kS0}, {"kv", kP}})), Set({{"dp", kS0}, {"tp", kS0}}));
}

}  // namespace
}  // namespace tp
