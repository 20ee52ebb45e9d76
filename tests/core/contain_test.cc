#include "tp/core/contain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <new>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

namespace tp {
namespace {

using testing::HasSubstr;

TEST(Contain, HandsOnWhatTheBodyReturns) {
  EXPECT_TRUE(Contain([] { return OkStatus(); }).ok());
  EXPECT_EQ(Contain([] { return NotFound("a file"); }).message(), "a file");
}

TEST(Contain, SaysWhatRanOut) {
  const Status memory = Contain([]() -> Status { throw std::bad_alloc(); });
  EXPECT_EQ(memory.code(), StatusCode::kUnavailable);
  EXPECT_THAT(memory.message(), HasSubstr("out of memory"));

  const Status length = Contain([] {
    std::vector<std::string>().resize(~size_t{0});
    return OkStatus();
  });
  EXPECT_EQ(length.code(), StatusCode::kUnavailable);

  const Status threads = Contain([]() -> Status {
    throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again));
  });
  EXPECT_EQ(threads.code(), StatusCode::kUnavailable);
  EXPECT_THAT(threads.message(), HasSubstr("no thread left"));

  const Status other = Contain([]() -> Status { throw std::logic_error("odd"); });
  EXPECT_EQ(other.code(), StatusCode::kInternal);
  EXPECT_THAT(other.message(), HasSubstr("odd"));
}

}  // namespace
}  // namespace tp
