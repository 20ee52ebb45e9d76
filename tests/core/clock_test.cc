#include "tp/core/clock.h"

#include <gtest/gtest.h>

#include <chrono>

namespace tp {
namespace {

TEST(ClockTest, TheHostsIsTheSteadyOneAndMeasures) {
  const auto steady = [] {
    return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
  };
  for (int i = 0; i < 1000; ++i) {
    const int64_t before = steady();
    const int64_t now = HostClock().NowNs();
    EXPECT_LE(before, now);
    EXPECT_LE(now, steady());
  }
  EXPECT_EQ(HostClock().kind(), ClockKind::kMeasured);
}

TEST(ClockTest, TheCalendarIsTheSystems) {
  const auto system = [] {
    return std::chrono::nanoseconds(std::chrono::system_clock::now().time_since_epoch()).count();
  };
  constexpr int64_t kDay = int64_t{86400} * 1'000'000'000;  // it may be set meanwhile
  EXPECT_LT(system() - kDay, CalendarNs());
  EXPECT_LT(CalendarNs(), system() + kDay);
}

TEST(ClockTest, KindsHaveNames) {
  EXPECT_EQ(Name(ClockKind::kMeasured), "measured");
  EXPECT_EQ(Name(ClockKind::kPredicted), "predicted");
}

}  // namespace
}  // namespace tp
