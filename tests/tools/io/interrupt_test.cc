// Signals as requests; each test that ends a process does so in a child.

#include "tools/io/interrupt.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <thread>

namespace tp::io {
namespace {

TEST(InterruptTest, TheFirstSignalIsNotedAndTheSecondEnds) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        const Interrupt interrupt;
        std::raise(SIGINT);
        if (Interrupt::Signal() != SIGINT || Interrupt::ExitStatus() != 130) std::_Exit(1);
        std::raise(SIGINT);  // the same request again, as `timeout` sends it
        std::this_thread::sleep_for(std::chrono::milliseconds(400));
        std::raise(SIGTERM);
      },
      testing::KilledBySignal(SIGTERM), "");
}

TEST(InterruptTest, AnIgnoredSignalStaysIgnored) {
  std::signal(SIGINT, SIG_IGN);
  {
    const Interrupt interrupt;
    std::raise(SIGINT);
    EXPECT_EQ(Interrupt::Signal(), 0);
  }
  EXPECT_EQ(std::signal(SIGINT, SIG_DFL), SIG_IGN);
}

TEST(ExitOnInterruptTest, FinishesAndExits) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (const bool before : {false, true}) {
    EXPECT_EXIT(
        {
          const Interrupt interrupt;
          if (before) std::raise(SIGTERM);
          const ExitOnInterrupt guard(
              [] { [[maybe_unused]] const ssize_t n = write(STDERR_FILENO, "finished", 8); });
          if (!before) std::raise(SIGTERM);
          pause();
        },
        testing::ExitedWithCode(128 + SIGTERM), "finished");
  }
}

TEST(ExitOnInterruptTest, DoesNothingWithoutASignal) {
  const Interrupt interrupt;
  for (int i = 0; i < 100; ++i) {
    ExitOnInterrupt guard([] { std::_Exit(1); });
    const auto lock = guard.Hold();
  }
  EXPECT_EQ(Interrupt::Signal(), 0);
}

}  // namespace
}  // namespace tp::io
