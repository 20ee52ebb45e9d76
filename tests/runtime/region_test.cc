#include "tp/runtime/region.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace tp {
namespace {

using testing::HasSubstr;

std::multiset<int64_t> BytesOf(const View& view, int64_t width) {
  std::multiset<int64_t> bytes;
  ForEachElement(view, [&](const Index&, int64_t at) {
    for (int64_t byte = 0; byte < width; ++byte) bytes.insert(at * width + byte);
  });
  return bytes;
}

std::multiset<int64_t> BytesOf(const std::vector<Region>& regions) {
  std::multiset<int64_t> bytes;
  for (const Region& region : regions) {
    for (int64_t run = 0; run < region.count; ++run) {
      for (int64_t byte = 0; byte < region.bytes; ++byte) {
        bytes.insert(region.offset + run * region.stride + byte);
      }
    }
  }
  return bytes;
}

TEST(Regions, HoldTheBytesOfAViewOnce) {
  const struct {
    View view;
    size_t regions;
  } cases[] = {
      {{0, 0, {{5, 7}, {7, 1}}}, 1},            // a whole matrix, by rows
      {{0, 3, {{5, 1}, {7, 5}}}, 1},            // by columns
      {{0, 2, {{5, 10}, {3, 1}}}, 1},           // some columns
      {{0, 2, {{3, 1}, {5, 10}}}, 1},           // some rows, by columns
      {{0, 4, {{3, 40}, {4, 2}}}, 3},           // every other element
      {{0, 6, {{1, 0}, {1, 1}}}, 1},            // a scalar
      {{0, 6, {{1, 0}, {9, 1}}}, 1},            // a vector
      {{0, 6, {{0, 9}, {9, 1}}}, 0},            // nothing
      {{0, 1, {{2, 60}, {3, 20}, {4, 1}}}, 2},  // a part of three dimensions
  };
  for (const auto& c : cases) {
    for (int64_t width : {2, 8}) {
      const std::vector<Region> regions = RegionsOf(c.view, width);
      EXPECT_EQ(BytesOf(regions), BytesOf(c.view, width)) << c.view.offset;
      EXPECT_EQ(regions.size(), c.regions);
    }
  }
}

// Held against the bytes that they have in common.
TEST(Regions, ThatOverlapAreRefused) {
  Schedule schedule;
  schedule.buffers = {{"x", DType::kFloat32, 30}};
  std::vector<Region> all;
  for (int64_t offset = 0; offset < 20; offset += 2) {
    for (int64_t bytes : {2, 4, 6}) {
      for (int64_t stride : {0, 6, 10, 12}) {
        if (stride < bytes && stride != 0) continue;
        all.push_back({0, offset, bytes, stride == 0 ? 1 : 4, stride});
      }
    }
  }
  for (const Region& a : all) {
    for (const Region& b : all) {
      if (a == b) continue;
      bool common = false;
      const std::multiset<int64_t> bytes = BytesOf({a});
      for (int64_t byte : BytesOf({b})) common = common || bytes.count(byte) > 0;
      const Status status = CheckRegion(a, schedule, {b});
      if (common) {
        EXPECT_FALSE(status.ok());
      }
      // Where the strides differ it may see an overlap that is none.
      if (!common && a.stride == b.stride) {
        EXPECT_TRUE(status.ok()) << status.ToString();
      }
    }
  }
}

TEST(Regions, BeyondTheirBufferAreRefused) {
  Schedule schedule;
  schedule.buffers = {{"x", DType::kFloat32, 10}};
  for (const Region& region : std::vector<Region>{{1, 0, 4},
                                                  {-1, 0, 4},
                                                  {0, -4, 4},
                                                  {0, 40, 4},
                                                  {0, 0, 0},
                                                  {0, 0, 41},
                                                  {0, 0, 4, 11, 4},
                                                  {0, 0, 4, 3, 2},
                                                  {0, 8, 4, 3, 16}}) {
    EXPECT_EQ(CheckRegion(region, schedule, {}).code(), StatusCode::kInvalidArgument);
  }
  EXPECT_TRUE(CheckRegion({0, 8, 4, 3, 12}, schedule, {}).ok());
  EXPECT_THAT(CheckRegion({0, 8, 4, 3, 16}, schedule, {}).message(),
              HasSubstr("buffer 'x' of 40 bytes has no region of 3 x 4 bytes at 8, 16 apart"));
}

}  // namespace
}  // namespace tp
