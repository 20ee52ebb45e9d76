#include "tools/io/progress.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

namespace tp::io {
namespace {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;
using testing::EndsWith;
using testing::HasSubstr;

// A terminal with a screen that can be read, and a clock that is set by hand.
class ProgressTest : public testing::Test {
 protected:
  ProgressTest() {
    screen_ = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    if (screen_ < 0 || grantpt(screen_) != 0 || unlockpt(screen_) != 0) std::abort();
    terminal_ = open(ptsname(screen_), O_RDWR | O_NOCTTY);
    SetWidth(80);
  }
  ~ProgressTest() override {
    close(terminal_);
    close(screen_);
  }

  void SetWidth(unsigned short columns) {
    const winsize size = {.ws_row = 24, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
    ASSERT_EQ(ioctl(terminal_, TIOCSWINSZ, &size), 0);
  }

  Progress::Options Options(int descriptor) {
    return {
        .tool = "bench", .descriptor = descriptor, .now = [this] { return now_; }, .thread = false};
  }

  // What has been written since the last call. What a terminal is given arrives when the kernel
  // gets to it, and in parts: a mark is written behind it, and all that comes before that is read.
  // What a thread has written behind the mark is for the next call.
  std::string Screen() {
    const char mark = '\0';
    EXPECT_EQ(write(terminal_, &mark, 1), 1);
    pollfd arrival = {.fd = screen_, .events = POLLIN, .revents = 0};
    while (arrived_.find(mark) == std::string::npos) {
      char part[4096];
      EXPECT_EQ(poll(&arrival, 1, /*timeout=*/-1), 1);
      const ssize_t size = read(screen_, part, sizeof(part));
      if (size > 0) arrived_.append(part, size);
    }
    const std::string text = arrived_.substr(0, arrived_.find(mark));
    arrived_.erase(0, text.size() + 1);
    return text;
  }

  std::string arrived_;
  int screen_;
  int terminal_;
  Progress::Clock::time_point now_;
};

TEST_F(ProgressTest, AppearsAfterASecondAndIsErased) {
  Progress progress(Options(terminal_));
  progress.Begin("row: steps", 8);
  now_ += 999ms;
  progress.Update("row: steps", 1);
  progress.Tick();
  EXPECT_EQ(Screen(), "");
  now_ += 1ms;
  progress.Update("row: steps", 2);
  progress.Tick();
  EXPECT_EQ(Screen(),
            "\r\x1b[Krow: steps ━━━━━━━━━━──────────────────────────────  25 %, 3.00 s left");
  now_ += 199ms;
  progress.Update("column: steps", 8);
  progress.Tick();
  EXPECT_EQ(Screen(), "");
  now_ += 1ms;
  progress.Tick();
  EXPECT_EQ(Screen(),
            "\r\x1b[Kcolumn: steps ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━ 100 %, 0 ns left");
  progress.End();
  EXPECT_EQ(Screen(), "\r\x1b[K");
  now_ += 10s;
  progress.Tick();
  EXPECT_EQ(Screen(), "");  // no stage is under way
}

// Lines take the bar's place, and it is behind them again; where there is none they are alone.
TEST_F(ProgressTest, GivesWayToLines) {
  Progress progress(Options(terminal_));
  const auto print = [&](const char* line) {
    progress.Around([&] { ASSERT_GT(write(terminal_, line, strlen(line)), 0); });
  };
  progress.Begin("steps", 4);
  print("step 1\n");
  EXPECT_EQ(Screen(), "step 1\r\n");
  now_ += 2s;
  progress.Update("steps", 2);
  progress.Tick();
  const std::string bar =
      "\r\x1b[Ksteps ━━━━━━━━━━━━━━━━━━━━────────────────────  50 %, 2.00 s left";
  EXPECT_EQ(Screen(), bar);
  print("step 2\n");
  EXPECT_EQ(Screen(), "\r\x1b[Kstep 2\r\n" + bar);
  progress.End();
  EXPECT_EQ(Screen(), "\r\x1b[K");
  print("done\n");
  EXPECT_EQ(Screen(), "done\r\n");
}

TEST_F(ProgressTest, StaysSilentForShortWork) {
  {
    Progress progress(Options(terminal_));
    const ProgressStage stage(&progress, "row", 8);
    progress.Update("row", 8);
    progress.Tick();
  }
  EXPECT_EQ(Screen(), "");
}

TEST_F(ProgressTest, ShowsHowLongUncountedWorkTakes) {
  Progress progress(Options(terminal_));
  now_ += 5s;
  const ProgressStage stage(&progress, "row: verification");
  now_ += 2s;
  progress.Tick();
  EXPECT_EQ(Screen(), "\r\x1b[Krow: verification  2.00 s");
}

TEST_F(ProgressTest, WritesALineEveryTenSecondsWithoutATerminal) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_NONBLOCK), 0);
  const auto said = [&] {
    char text[4096];
    const ssize_t size = read(ends[0], text, sizeof(text));
    return size > 0 ? std::string(text, size) : "";
  };
  {
    Progress progress(Options(ends[1]));
    progress.Begin("row: steps", 8);
    now_ += 9s;
    progress.Tick();
    EXPECT_EQ(said(), "");
    progress.Update("row: steps", 4);
    now_ += 1s;
    progress.Tick();
    EXPECT_EQ(said(), "bench: row: steps  50 %, 10.0 s left\n");
    // Other stages don't begin to count anew.
    now_ += 6s;
    progress.Begin("row: verification", 0);
    now_ += 4s;
    progress.Tick();
    EXPECT_EQ(said(), "bench: row: verification 4.00 s\n");
  }
  EXPECT_EQ(said(), "");
  close(ends[0]);
  close(ends[1]);
}

TEST_F(ProgressTest, FitsANarrowTerminal) {
  Progress progress(Options(terminal_));
  progress.Begin("row", 8);
  now_ += 1s;
  SetWidth(31);
  progress.Update("row", 4);
  progress.Tick();
  EXPECT_EQ(Screen(), "\r\x1b[Krow ━━━────  50 %, 1.00 s left");
  now_ += 1s;
  SetWidth(10);
  progress.Update("row", 5);
  progress.Tick();
  EXPECT_EQ(Screen(), "");
}

TEST_F(ProgressTest, TakesOddAmounts) {
  Progress progress(Options(terminal_));
  progress.Begin("row", 2);
  now_ += 1s;
  progress.Tick();
  EXPECT_THAT(Screen(), EndsWith("   0 %"));
  now_ += 1s;
  progress.Update("row", 5);
  progress.Tick();
  EXPECT_THAT(Screen(), HasSubstr(" 100 %"));
}

// What the others do by hand; it must neither hang nor race.
TEST_F(ProgressTest, AThreadDraws) {
  Progress::Options options = Options(terminal_);
  options.now = Progress::Clock::now;
  options.thread = true;
  Progress progress(options);
  progress.Begin("row", 2);
  std::string seen;
  while (seen.find("row") == std::string::npos) seen += Screen();
}

}  // namespace
}  // namespace tp::io
