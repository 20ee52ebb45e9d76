#include "tp/core/mesh.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace tp {
namespace {

TEST(Mesh, NumbersTpNeighbours) {
  const Mesh mesh = Mesh::Create(3, 2).value();
  EXPECT_EQ(mesh.world(), 6);
  EXPECT_EQ(mesh.Size(Axis::kTp), 3);
  EXPECT_EQ(mesh.Size(Axis::kDp), 2);
  EXPECT_EQ(mesh.Coordinate(4, Axis::kTp), 1);
  EXPECT_EQ(mesh.Coordinate(4, Axis::kDp), 1);
  EXPECT_EQ(mesh.Group(4, Axis::kTp), (std::vector<int>{3, 4, 5}));
  EXPECT_EQ(mesh.Group(4, Axis::kDp), (std::vector<int>{1, 4}));
}

TEST(Mesh, AMemberStandsAtItsCoordinateAndSharesTheOtherOne) {
  for (int tp : {1, 2, 3, 4, 5, 8}) {
    for (int dp : {1, 2, 3}) {
      const Mesh mesh = Mesh::Create(tp, dp).value();
      for (int rank = 0; rank < mesh.world(); ++rank) {
        for (Axis axis : kAllAxes) {
          const Axis other = axis == Axis::kTp ? Axis::kDp : Axis::kTp;
          const std::vector<int> group = mesh.Group(rank, axis);
          ASSERT_EQ(static_cast<int>(group.size()), mesh.Size(axis));
          EXPECT_EQ(group[mesh.Coordinate(rank, axis)], rank);
          for (int i = 0; i < mesh.Size(axis); ++i) {
            EXPECT_EQ(mesh.Coordinate(group[i], axis), i);
            EXPECT_EQ(mesh.Coordinate(group[i], other), mesh.Coordinate(rank, other));
            EXPECT_EQ(mesh.Group(group[i], axis), group);
          }
        }
      }
    }
  }
}

TEST(Mesh, RefusesWhatIsNoGrid) {
  EXPECT_EQ(Mesh::Create(0, 1).status().ToString(),
            "INVALID_ARGUMENT: tp is 0; it must be at least 1");
  EXPECT_EQ(Mesh::Create(2, -3).status().ToString(),
            "INVALID_ARGUMENT: dp is -3; it must be at least 1");
  EXPECT_TRUE(Mesh::Create(Mesh::kMaxWorld, 1).ok());
  EXPECT_FALSE(Mesh::Create(Mesh::kMaxWorld, 2).ok());
  EXPECT_FALSE(Mesh::Create(1 << 30, 1 << 30).ok());  // whose product is no int
}

TEST(Axis, Names) {
  EXPECT_EQ(Name(Axis::kTp), "tp");
  EXPECT_EQ(Name(Axis::kDp), "dp");
}

}  // namespace
}  // namespace tp
