#include "tp/core/host_tensor.h"

#include <gtest/gtest.h>

namespace tp {
namespace {

TEST(HostTensor, IsEmptyByDefault) {
  const HostTensor tensor;
  EXPECT_EQ(tensor.size(), 0);
  EXPECT_TRUE(tensor.bytes().empty());
}

TEST(HostTensor, BeginsAsZeros) {
  for (DType dtype : kAllDTypes) {
    const HostTensor tensor({2, 3}, dtype);
    EXPECT_EQ(tensor.shape(), (Shape{2, 3}));
    EXPECT_EQ(tensor.dtype(), dtype);
    EXPECT_EQ(tensor.size(), 6);
    EXPECT_EQ(static_cast<int64_t>(tensor.bytes().size()), 6 * SizeOf(dtype));
    EXPECT_EQ(tensor.ToDoubles(), std::vector<double>(6));
  }
}

TEST(HostTensor, AWriteRoundsOnceAndTouchesOneElement) {
  const double third = 1.0 / 3;
  for (DType dtype : kAllDTypes) {
    HostTensor tensor({4}, dtype);
    tensor.Set(2, third);
    EXPECT_EQ(tensor.At(2), RoundTo(dtype, third));
    EXPECT_EQ(tensor.ToDoubles(), (std::vector<double>{0, 0, RoundTo(dtype, third), 0}));
  }
}

TEST(HostTensor, AScalarHasOneElement) {
  HostTensor tensor(Shape{}, DType::kFloat32);
  EXPECT_EQ(tensor.size(), 1);
  tensor.Set(0, 2.5);
  EXPECT_EQ(tensor.At(0), 2.5);
}

}  // namespace
}  // namespace tp
