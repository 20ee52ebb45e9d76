#include "tp/core/shape.h"

#include <gtest/gtest.h>

namespace tp {
namespace {

TEST(Shape, CountsElements) {
  EXPECT_EQ(NumElements({}), 1);
  EXPECT_EQ(NumElements({7}), 7);
  EXPECT_EQ(NumElements({20, 1000}), 20000);
  EXPECT_EQ(NumElements({20, 0}), 0);
  EXPECT_EQ(NumElements({1 << 20, 1 << 20}), int64_t{1} << 40);
}

TEST(Shape, Prints) {
  EXPECT_EQ(ToString(Shape{}), "[]");
  EXPECT_EQ(ToString(Shape{7}), "[7]");
  EXPECT_EQ(ToString(Shape{20, 1000}), "[20, 1000]");
}

}  // namespace
}  // namespace tp
