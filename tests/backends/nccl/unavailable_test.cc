// Built without CUDA, the backend says so in one line.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "backends/nccl/backend.h"

namespace tp::nccl {
namespace {

TEST(Unavailable, SaysWhatToDo) {
  const auto backend = MakeBackend(Options{});
  EXPECT_EQ(backend.status().code(), StatusCode::kUnavailable);
  EXPECT_THAT(backend.status().message(), testing::HasSubstr("--config=cuda"));
  EXPECT_THAT(backend.status().message(), testing::Not(testing::HasSubstr("\n")));
}

}  // namespace
}  // namespace tp::nccl
