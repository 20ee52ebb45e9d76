#include "tp/program/placement.h"

#include <gtest/gtest.h>

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
  placements[Axis::kDp] = Shard(0);
  EXPECT_EQ(placements, Placements(Replicate(), Shard(0)));
  EXPECT_NE(placements, Placements(Shard(0), Replicate()));
}

}  // namespace
}  // namespace tp
