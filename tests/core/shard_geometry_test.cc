#include "tp/core/shard_geometry.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>

namespace tp {
namespace {

TEST(ShardGeometry, SpreadsWhatIsLeftOver) {
  const ShardGeometry geometry(10, 4);
  const int64_t offsets[] = {0, 3, 5, 8};
  const int64_t lengths[] = {3, 2, 3, 2};
  for (int part = 0; part < 4; ++part) {
    EXPECT_EQ(geometry.Offset(part), offsets[part]);
    EXPECT_EQ(geometry.Length(part), lengths[part]);
  }
  EXPECT_EQ(geometry.Offset(4), 10);
}

TEST(ShardGeometry, SomePartsAreEmptyWhereThereAreMoreThanElements) {
  const ShardGeometry geometry(3, 5);
  const int64_t lengths[] = {1, 1, 0, 1, 0};
  for (int part = 0; part < 5; ++part) EXPECT_EQ(geometry.Length(part), lengths[part]);
  EXPECT_EQ(geometry.Offset(4), 3);
  EXPECT_EQ(geometry.OwnerOf(1), 1);
  EXPECT_EQ(geometry.OwnerOf(2), 3);
}

// Each part of a cut is a union of whole parts of any finer one that its number divides.
TEST(ShardGeometry, CutsNest) {
  for (int64_t size = 0; size <= 70; ++size) {
    for (int parts = 1; parts <= 12; ++parts) {
      for (int finer = 1; finer <= 6; ++finer) {
        const ShardGeometry coarse(size, parts);
        const ShardGeometry fine(size, parts * finer);
        for (int part = 0; part <= parts; ++part) {
          ASSERT_EQ(coarse.Offset(part), fine.Offset(part * finer)) << size << " over " << parts;
        }
      }
    }
  }
}

TEST(ShardGeometry, NothingSplitsIntoEmptyParts) {
  const ShardGeometry geometry(0, 3);
  for (int part = 0; part < 3; ++part) EXPECT_EQ(geometry.Length(part), 0);
}

// Exhaustive where it is cheap: contiguous, in order, even, and every element has its one owner.
TEST(ShardGeometry, CoversEveryElementExactlyOnce) {
  for (int64_t size = 0; size <= 70; ++size) {
    for (int parts = 1; parts <= 20; ++parts) {
      const ShardGeometry geometry(size, parts);
      int64_t next = 0;
      for (int part = 0; part < parts; ++part) {
        ASSERT_EQ(geometry.Offset(part), next) << size << " over " << parts;
        for (; next < geometry.Offset(part) + geometry.Length(part); ++next) {
          ASSERT_EQ(geometry.OwnerOf(next), part) << next << " of " << size << " over " << parts;
        }
        ASSERT_GE(geometry.Length(part), size / parts);
        ASSERT_LE(geometry.Length(part), (size + parts - 1) / parts);
        ASSERT_LE(geometry.Length(part), geometry.Length(0));
      }
      ASSERT_EQ(next, size);
    }
  }
}

RC_GTEST_PROP(ShardGeometry, HoldsForLargeSizes, ()) {
  const auto size = *rc::gen::inRange<int64_t>(1, int64_t{1} << 48);
  const auto parts = *rc::gen::inRange(1, 1 << 16);
  const ShardGeometry geometry(size, parts);
  RC_ASSERT(geometry.Offset(0) == 0);
  RC_ASSERT(geometry.Offset(parts) == size);
  const auto part = *rc::gen::inRange(0, parts);
  RC_ASSERT(geometry.Length(part) >= size / parts);
  RC_ASSERT(geometry.Length(part) <= geometry.Length(0));
  RC_ASSERT(geometry.Length(0) <= size / parts + 1);
  const auto element = *rc::gen::inRange<int64_t>(0, size);
  const int owner = geometry.OwnerOf(element);
  RC_ASSERT(geometry.Offset(owner) <= element);
  RC_ASSERT(element < geometry.Offset(owner) + geometry.Length(owner));
}

TEST(ShardGeometryDeathTest, RejectsWhatIsNoSplit) {
  EXPECT_DEATH(ShardGeometry(-1, 2), "Check failed");
  EXPECT_DEATH(ShardGeometry(5, 0), "Check failed");
}

}  // namespace
}  // namespace tp
