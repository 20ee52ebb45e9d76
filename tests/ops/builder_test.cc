#include "tp/ops/builder.h"

#include <gtest/gtest.h>

#include <string>

namespace tp {
namespace {

constexpr DType kType = DType::kFloat32;

TEST(Builder, NamesByScope) {
  Program program;
  Builder b(program);
  ValueId x = b.Input("x", {4, 6}, kType);
  for (int i = 0; i < 2; ++i) {
    const Builder::Scope layer = b.In("layers", i);
    {
      const Builder::Scope attention = b.In("attention");
      const ValueId wq = b.Parameter("wq", {6, 6}, kType);
      x = b.MatMul("q", x, wq);
    }
    x = b.Add("sum", x, x);
  }
  b.set_phase(Phase::kBackward);
  b.Result(b.MseLoss("loss", x, x, 0.5));
  EXPECT_TRUE(b.status().ok()) << b.status().ToString();
  EXPECT_EQ(ToString(program),
            "x: fp32 [4, 6] {tp: Replicate, dp: Replicate} = input()  # forward\n"
            "layers.0.attention.wq: fp32 [6, 6] {tp: Replicate, dp: Replicate} = parameter()"
            "  # forward\n"
            "layers.0.attention.q: fp32 [4, 6] {tp: Replicate, dp: Replicate} = "
            "matmul(x, layers.0.attention.wq)  # forward\n"
            "layers.0.sum: fp32 [4, 6] {tp: Replicate, dp: Replicate} = "
            "add(layers.0.attention.q, layers.0.attention.q)  # forward\n"
            "layers.1.attention.wq: fp32 [6, 6] {tp: Replicate, dp: Replicate} = parameter()"
            "  # forward\n"
            "layers.1.attention.q: fp32 [4, 6] {tp: Replicate, dp: Replicate} = "
            "matmul(layers.0.sum, layers.1.attention.wq)  # forward\n"
            "layers.1.sum: fp32 [4, 6] {tp: Replicate, dp: Replicate} = "
            "add(layers.1.attention.q, layers.1.attention.q)  # forward\n"
            "loss: fp32 [] {tp: Replicate, dp: Replicate} = "
            "mse_loss(layers.1.sum, layers.1.sum, scale=0.5)  # backward\n"
            "result loss\n");
}

// Whatever is built on what went wrong, the first error is told, and nothing more is appended.
TEST(Builder, TellsTheFirstErrorOnce) {
  Program program;
  Builder b(program);
  const ValueId x = b.Input("x", {4, 6}, kType);
  const std::string before = ToString(program);
  {
    const Builder::Scope layer = b.In("layers", 3);
    const ValueId y = b.MatMul("y", x, x);
    EXPECT_EQ(y, kNoValue);
    EXPECT_TRUE(b.value(y).shape.empty());
    EXPECT_EQ(b.Add("z", y, x), kNoValue);
    EXPECT_EQ(b.Redistribute("r", y, Axis::kTp, Partial()), kNoValue);
    EXPECT_EQ(b.MatMul("p", y, y), kNoValue);
    EXPECT_EQ(b.Parameter("w", {4}, kType), kNoValue);
    EXPECT_EQ(b.Input("i", {4}, kType), kNoValue);
    b.Result(y);
    b.Fail(InvalidArgument("second"));
  }
  EXPECT_EQ(ToString(program), before);
  EXPECT_EQ(b.status().code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(b.status().message().starts_with("in 'layers.3': matmul 'layers.3.y': "))
      << b.status().message();
}

TEST(Builder, RemembersTheCallersErrors) {
  Program program;
  Builder b(program);
  b.Fail(InvalidArgument("no"));
  EXPECT_EQ(b.status().ToString(), "INVALID_ARGUMENT: no");
}

}  // namespace
}  // namespace tp
