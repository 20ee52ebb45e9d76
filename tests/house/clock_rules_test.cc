#include "tests/house/clock_rules.h"

#include <gtest/gtest.h>

namespace tp {
namespace {

TEST(ClockRules, ObjectToEveryWayToReadOne) {
  for (const char* line : {
           "const auto now = std::chrono::steady_clock::now();",
           "std::function<Clock::time_point()> now = Clock::now;",
           "std::chrono::high_resolution_clock::now()",
           "clock_gettime(CLOCK_MONOTONIC, &now);",
           "gettimeofday(&now, nullptr);",
           "timespec_get(&now, TIME_UTC);",
           "const std::time_t now = std::time(nullptr);",
           "time( NULL )",
           "const clock_t begin = std::clock();",
           "uint64_t cycles = __rdtsc();",
       }) {
    EXPECT_NE(ObjectionToClock("tools/io/x.cc", line), "") << line;
    EXPECT_NE(ObjectionToClock("tp/runtime/x.h", line), "") << line;
    EXPECT_NE(ObjectionToClock("backends/cpu/x.cc", line), "") << line;
    EXPECT_EQ(ObjectionToClock("tp/core/clock.cc", line), "") << line;
    EXPECT_EQ(ObjectionToClock("backends/nccl/control/wait.cc", line), "") << line;
    EXPECT_EQ(ObjectionToClock("tests/core/x.cc", line), "") << line;
  }
}

TEST(ClockRules, LetOthersAskAClock) {
  for (const char* line : {
           "step.arrived_ns = context_.clock().NowNs();",
           "const Clock& clock() const override { return *shared_.options.clock; }",
           "record_.begin_ns = clock_.NowNs();",
           "CpuExecutor::Create(fabric, kFree, clock());",
           "HostClock().NowNs()",
           "// Times are those of std::chrono::steady_clock::now.",
           "using Clock = std::chrono::steady_clock;",
           "times.push_back(1);",
           "QuantilesOf(times);",
           "const double time = Time(backend);",
       }) {
    EXPECT_EQ(ObjectionToClock("tools/io/x.cc", line), "") << line;
  }
}

}  // namespace
}  // namespace tp
