// Shows how far long work is, on the standard error.
//
//   row: steps ━━━━━━━━━━━━━━━━━━━━──────────  67 %, 12.3 s left
//
// On a terminal a bar appears once a stage has lasted a second, is redrawn five times a second, and
// is gone when the stage ends; lines that are printed meanwhile go through Around. Elsewhere a line
// comes every ten seconds. A thread of its own draws, so that work which can't say how far it is
// shows at least how long it takes. Any thread may call.
#pragma once

#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "tp/core/clock.h"

namespace tp::io {

class Progress {
 public:
  using Clock = std::chrono::steady_clock;
  struct Options {
    std::string tool;  // lines begin with it
    int descriptor = STDERR_FILENO;
    std::function<Clock::time_point()> now = [] {
      return Clock::time_point(std::chrono::nanoseconds(HostClock().NowNs()));
    };
    bool thread = true;  // false: only Tick draws
  };

  explicit Progress(Options options);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Begins a stage, whose work has `total` equal parts; 0: nobody can say.
  void Begin(std::string_view label, int64_t total);
  // `done` parts of it are done, and what is done now is called `label`.
  void Update(std::string_view label, int64_t done);
  // Ends it: nothing is on the screen until another one begins.
  void End();

  // Has `print` write lines to the screen that the bar is on: they stand where it was, and it is
  // there again behind them. `print` calls nothing of this.
  void Around(const std::function<void()>& print);

  // Draws, if something is due.
  void Tick();

 private:
  void Run();
  void Draw(Clock::time_point now);
  std::string Status(Clock::time_point now) const;
  void Write(const std::string& text) const;

  const Options options_;
  const bool terminal_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;
  bool under_way_ = false;
  bool drawn_ = false;
  std::string label_;
  int64_t total_ = 0;
  int64_t done_ = 0;
  Clock::time_point begin_;
  Clock::time_point due_;
  std::thread thread_;
};

// A stage from here to the end of the scope; `progress` may be null.
class ProgressStage {
 public:
  ProgressStage(Progress* progress, std::string_view label, int64_t total = 0)
      : progress_(progress) {
    if (progress_ != nullptr) progress_->Begin(label, total);
  }
  ~ProgressStage() {
    if (progress_ != nullptr) progress_->End();
  }
  ProgressStage(const ProgressStage&) = delete;
  ProgressStage& operator=(const ProgressStage&) = delete;

 private:
  Progress* const progress_;
};

}  // namespace tp::io
