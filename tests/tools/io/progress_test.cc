#include "tools/io/progress.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
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

  ProgressBar::Options Options(int descriptor) {
    return {.descriptor = descriptor, .now = [this] { return now_; }};
  }

  // What has been written since the last call.
  std::string Screen() const {
    char text[4096];
    const ssize_t size = read(screen_, text, sizeof(text));
    return size > 0 ? std::string(text, size) : "";
  }

  int screen_;
  int terminal_;
  ProgressBar::Clock::time_point now_;
};

TEST_F(ProgressTest, AppearsAfterASecondAndIsErased) {
  auto bar = std::make_unique<ProgressBar>("row", 8, Options(terminal_));
  now_ += 999ms;
  bar->Update(1);
  EXPECT_EQ(Screen(), "");
  now_ += 1ms;
  bar->Update(2);
  EXPECT_EQ(Screen(), "\r\x1b[Krow ━━━━━━━━━━──────────────────────────────  25 %, 3.00 s left");
  now_ += 99ms;
  bar->Update(3);
  EXPECT_EQ(Screen(), "");
  now_ += 1ms;
  bar->Update(8);
  EXPECT_EQ(Screen(), "\r\x1b[Krow ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━ 100 %, 0 ns left");
  bar.reset();
  EXPECT_EQ(Screen(), "\r\x1b[K");
}

TEST_F(ProgressTest, StaysSilentForShortWork) {
  { ProgressBar("row", 8, Options(terminal_)).Update(8); }
  EXPECT_EQ(Screen(), "");
}

TEST_F(ProgressTest, StaysSilentWithoutATerminal) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_NONBLOCK), 0);
  {
    ProgressBar bar("row", 8, Options(ends[1]));
    now_ += 10s;
    bar.Update(4);
  }
  char byte;
  EXPECT_EQ(read(ends[0], &byte, 1), -1);  // nothing there
  close(ends[0]);
  close(ends[1]);
}

TEST_F(ProgressTest, FitsANarrowTerminal) {
  ProgressBar bar("row", 8, Options(terminal_));
  now_ += 1s;
  SetWidth(31);
  bar.Update(4);
  EXPECT_EQ(Screen(), "\r\x1b[Krow ━━━────  50 %, 1.00 s left");
  now_ += 1s;
  SetWidth(10);
  bar.Update(5);
  EXPECT_EQ(Screen(), "");
}

TEST_F(ProgressTest, TakesOddAmounts) {
  ProgressBar bar("row", 0, Options(terminal_));
  now_ += 1s;
  bar.Update(0);
  EXPECT_THAT(Screen(), EndsWith("   0 %"));
  now_ += 1s;
  bar.Update(5);
  EXPECT_THAT(Screen(), HasSubstr(" 100 %"));
}

}  // namespace
}  // namespace tp::io
