#include "tp/core/status.h"

#include <gtest/gtest.h>

#include <memory>

namespace tp {
namespace {

TEST(Status, IsOkByDefault) {
  EXPECT_TRUE(Status().ok());
  EXPECT_TRUE(OkStatus().ok());
  EXPECT_EQ(OkStatus().ToString(), "OK");
  EXPECT_EQ(OkStatus().message(), "");
}

TEST(Status, EachMakerHasItsCodeAndName) {
  const struct {
    Status status;
    StatusCode code;
    const char* text;
  } cases[] = {
      {InvalidArgument("a"), StatusCode::kInvalidArgument, "INVALID_ARGUMENT: a"},
      {NotFound("b"), StatusCode::kNotFound, "NOT_FOUND: b"},
      {Unavailable("c"), StatusCode::kUnavailable, "UNAVAILABLE: c"},
      {DeadlineExceeded("d"), StatusCode::kDeadlineExceeded, "DEADLINE_EXCEEDED: d"},
      {Aborted("e"), StatusCode::kAborted, "ABORTED: e"},
      {FailedPrecondition("f"), StatusCode::kFailedPrecondition, "FAILED_PRECONDITION: f"},
      {Internal("g"), StatusCode::kInternal, "INTERNAL: g"},
  };
  for (const auto& c : cases) {
    EXPECT_FALSE(c.status.ok());
    EXPECT_EQ(c.status.code(), c.code);
    EXPECT_EQ(c.status.ToString(), c.text);
  }
}

TEST(Status, ContextGoesInFrontAndKeepsTheCode) {
  const Status status = NotFound("no file").WithContext("x.npy").WithContext("rank 3");
  EXPECT_EQ(status.ToString(), "NOT_FOUND: rank 3: x.npy: no file");
  EXPECT_TRUE(OkStatus().WithContext("rank 3").ok());
  EXPECT_EQ(OkStatus().WithContext("rank 3").message(), "");
}

TEST(StatusDeathTest, OkHasNoMessage) {
  EXPECT_DEATH(Status(StatusCode::kOk, "fine"), "carries no message");
}

TEST(StatusOr, HoldsAValueOrAnError) {
  StatusOr<std::unique_ptr<int>> value = std::make_unique<int>(7);
  ASSERT_TRUE(value.ok());
  EXPECT_TRUE(value.status().ok());
  EXPECT_EQ(**value, 7);
  const std::unique_ptr<int> moved = std::move(value).value();
  EXPECT_EQ(*moved, 7);

  const StatusOr<std::string> error = Unavailable("no GPU");
  EXPECT_FALSE(error.ok());
  EXPECT_EQ(error.status().ToString(), "UNAVAILABLE: no GPU");
}

TEST(StatusOrDeathTest, TheValueOfAnErrorIsAMistake) {
  const StatusOr<int> error = Unavailable("no GPU");
  EXPECT_DEATH(static_cast<void>(error.value()), "UNAVAILABLE: no GPU");
  EXPECT_DEATH(StatusOr<int>{OkStatus()}, "needs a value");
}

StatusOr<int> Half(int x) {
  if (x % 2 != 0) return InvalidArgument(std::to_string(x) + " is odd");
  return x / 2;
}

StatusOr<int> Quarter(int x) {
  TP_ASSIGN_OR_RETURN(const int half, Half(x));
  TP_ASSIGN_OR_RETURN(const int quarter, Half(half));
  return quarter;
}

Status Divisible(int x, int& evaluations) {
  TP_RETURN_IF_ERROR((++evaluations, Quarter(x).status()));
  return OkStatus();
}

TEST(Macros, ReturnTheErrorOrGoOn) {
  EXPECT_EQ(Quarter(12).value(), 3);
  EXPECT_EQ(Quarter(7).status().message(), "7 is odd");
  EXPECT_EQ(Quarter(6).status().message(), "3 is odd");
  int evaluations = 0;
  EXPECT_TRUE(Divisible(8, evaluations).ok());
  EXPECT_EQ(Divisible(6, evaluations).message(), "3 is odd");
  EXPECT_EQ(evaluations, 2);
}

}  // namespace
}  // namespace tp
