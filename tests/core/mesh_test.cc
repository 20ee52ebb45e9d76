#include "tp/core/mesh.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

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
        for (Axis axis : kDefaultAxes) {
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

// By brute force: a member differs from its neighbours on the axis alone.
TEST(Mesh, HasGroupsAlongEachOfItsAxes) {
  const std::vector<NamedAxis> axes = {{"kv", 3}, {"tp", 2}, {"dp", 2}, {"r", 1}};
  const Mesh mesh = Mesh::Create(axes).value();
  ASSERT_EQ(mesh.world(), 12);
  std::set<std::vector<int>> places;
  for (int rank = 0; rank < mesh.world(); ++rank) {
    std::vector<int> place;
    for (const Axis& axis : mesh.axes()) place.push_back(mesh.Coordinate(rank, axis));
    places.insert(place);
    EXPECT_EQ(rank, place[0] + 3 * place[1] + 6 * place[2]);  // the first varies fastest
    for (size_t a = 0; a < axes.size(); ++a) {
      const std::vector<int> group = mesh.Group(rank, mesh.axes()[a]);
      ASSERT_EQ(static_cast<int>(group.size()), axes[a].size);
      for (int i = 0; i < axes[a].size; ++i) {
        for (size_t b = 0; b < axes.size(); ++b) {
          EXPECT_EQ(mesh.Coordinate(group[i], mesh.axes()[b]), a == b ? i : place[b]);
        }
      }
    }
  }
  EXPECT_EQ(places.size(), 12u);
}

TEST(Mesh, HasOneRankOnAnAxisThatItHasNot) {
  const Mesh mesh = Mesh::Create(2, 2).value();
  const Axis kv = Axis::Named("kv").value();
  EXPECT_EQ(mesh.PlaceOf(kv), -1);
  EXPECT_EQ(mesh.Size(kv), 1);
  EXPECT_EQ(mesh.Coordinate(3, kv), 0);
  EXPECT_EQ(mesh.Group(3, kv), std::vector<int>{3});
}

TEST(Mesh, RefusesNamesAndNumbersOfAxes) {
  const auto error = [](const std::vector<NamedAxis>& axes) {
    return Mesh::Create(axes).status().ToString();
  };
  EXPECT_EQ(error({{"kv", 2}, {"kv", 2}}),
            "INVALID_ARGUMENT: two axes of the mesh are called 'kv'");
  EXPECT_EQ(error({{"kv", 2}, {"dp", 0}}), "INVALID_ARGUMENT: dp is 0; it must be at least 1");
  EXPECT_EQ(error({}), "INVALID_ARGUMENT: a mesh has 1 to 4 axes, not 0");
  EXPECT_EQ(error({{"a", 1}, {"b", 1}, {"c", 1}, {"d", 1}, {"e", 1}}),
            "INVALID_ARGUMENT: a mesh has 1 to 4 axes, not 5");
  EXPECT_EQ(error({{"a", 256}, {"b", 256}, {"c", 2}}),
            "INVALID_ARGUMENT: a x b x c is 131072 ranks; at most 65536 can take part");
  for (const char* name : {"", "Tp", "1", "t p", "_a", "a-b", "abcdefghijklmnop"}) {
    EXPECT_THAT(error({{name, 1}}), testing::HasSubstr("is no name of an axis")) << name;
  }
  EXPECT_TRUE(Mesh::Create({{"abcdefghijklmno", 1}, {"a_1", 1}}).ok());
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
  const Axis kv = Axis::Named("kv").value();
  EXPECT_EQ(Name(kv), "kv");
  EXPECT_EQ(kv, Axis::Named("kv").value());
  EXPECT_NE(kv, Axis::Named("kv2").value());
  EXPECT_EQ(Axis::Named("dp").value(), Axis::kDp);
  // The order in which they are told.
  EXPECT_LT(Axis::kTp, Axis::kDp);
  EXPECT_LT(Axis::kDp, Axis::Named("a").value());
  EXPECT_LT(Axis::Named("a").value(), kv);
}

}  // namespace
}  // namespace tp
