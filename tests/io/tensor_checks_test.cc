#include "tp/io/tensor_checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <string>

#include "tp/core/dtype.h"
#include "tp/core/shape.h"

namespace tp::io {
namespace {

using testing::HasSubstr;

TEST(ByteSizeTest, MultipliesWithoutOverflow) {
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(ByteSize({}, 8), 8);
  EXPECT_EQ(ByteSize({3, 4}, 4), 48);
  EXPECT_EQ(ByteSize({0, 5}, 4), 0);
  EXPECT_EQ(ByteSize({kMax}, 1), kMax);
  EXPECT_EQ(ByteSize({kMax}, 2), std::nullopt);
  EXPECT_EQ(ByteSize({int64_t{1} << 32, int64_t{1} << 32}, 4), std::nullopt);
  EXPECT_EQ(ByteSize({-1}, 4), std::nullopt);
  EXPECT_EQ(ByteSize({0, -1}, 4), std::nullopt);
  // The product is 0, and yet multiplying from the left overflows.
  EXPECT_EQ(ByteSize({kMax, kMax, 0}, 4), std::nullopt);
}

TEST(CheckShapeTest, NamesBothShapes) {
  EXPECT_TRUE(CheckShape("x", {3, 4}, std::nullopt).ok());
  EXPECT_TRUE(CheckShape("x", {3, 4}, Shape{3, 4}).ok());
  EXPECT_EQ(CheckShape("x.npy", {3, 4}, Shape{4, 3}).message(),
            "x.npy: has shape [3, 4], but shape [4, 3] is needed");
}

TEST(AllocateTest, ReportsWhatDoesNotFit) {
  EXPECT_EQ(Allocate("x", {3, 4}, DType::kFloat32)->bytes().size(), 48u);
  for (int shift : {40, 59, 60}) {  // beyond memory, beyond addresses, beyond int64_t
    const Shape shape = {int64_t{1} << shift};
    const Status status = Allocate("x", shape, DType::kFloat64).status();
    EXPECT_EQ(status.code(), StatusCode::kUnavailable);
    EXPECT_THAT(status.message(), HasSubstr("x: shape " + ToString(shape) + " of fp64 does not"));
  }
}

TEST(CheckFiniteTest, NamesTheFirstBadElement) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (DType dtype : kAllDTypes) {
    SCOPED_TRACE(Name(dtype));
    HostTensor tensor({50, 50}, dtype);
    EXPECT_TRUE(CheckFinite(tensor, "x").ok());
    tensor.Set(2499, -kInfinity);
    EXPECT_THAT(CheckFinite(tensor, "x").message(), HasSubstr("x: element [49, 49] is -infinity"));
    tensor.Set(1100, kInfinity);
    EXPECT_THAT(CheckFinite(tensor, "x").message(), HasSubstr("x: element [22, 0] is +infinity"));
    tensor.Set(7, std::numeric_limits<double>::quiet_NaN());
    EXPECT_THAT(CheckFinite(tensor, "x").message(), HasSubstr("x: element [0, 7] is NaN"));
  }
}

TEST(CheckFiniteTest, TakesScalarsAndEmptyTensors) {
  HostTensor scalar({}, DType::kFloat64);
  EXPECT_TRUE(CheckFinite(scalar, "x").ok());
  scalar.Set(0, std::numeric_limits<double>::infinity());
  EXPECT_THAT(CheckFinite(scalar, "x").message(), HasSubstr("element [] is +infinity"));
  EXPECT_TRUE(CheckFinite(HostTensor({0, 3}, DType::kFloat32), "x").ok());
}

TEST(QuoteTest, StaysOnOneShortLine) {
  EXPECT_EQ(Quote("w"), "\"w\"");
  EXPECT_EQ(Quote("a\nb\x1b[31m\"\xff"), "\"a\\nb\\u001b[31m\\\"\\ufffd\"");
  EXPECT_EQ(Quote(std::string(81, 'x')), "\"" + std::string(80, 'x') + "...\"");
}

}  // namespace
}  // namespace tp::io
