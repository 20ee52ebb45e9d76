// A progress bar for long work, on a terminal only.
//
//   row ━━━━━━━━━━━━━━━━━━━━──────────  67 %, 12.3 s left
//
// It appears once the work has lasted a second, is redrawn at most ten times a second, and is gone
// when the object is. Where the output is no terminal, Update is one comparison and nothing is ever
// written. Everything is called from one thread.
#pragma once

#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>

namespace tp::io {

class ProgressBar {
 public:
  using Clock = std::chrono::steady_clock;
  struct Options {
    int descriptor = STDERR_FILENO;
    std::function<Clock::time_point()> now = Clock::now;
  };

  // The work has `total` equal parts; `label` says what it is.
  ProgressBar(std::string label, int64_t total, Options options);
  ProgressBar(std::string label, int64_t total) : ProgressBar(std::move(label), total, Options()) {}
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // `done` parts of the work are done.
  void Update(int64_t done) {
    if (terminal_) DrawWhenDue(done);
  }

 private:
  void DrawWhenDue(int64_t done);
  void Write(const std::string& text) const;

  const std::string label_;
  const int64_t total_;
  const Options options_;
  const bool terminal_;
  const Clock::time_point begin_;
  Clock::time_point due_;
  bool drawn_ = false;
};

}  // namespace tp::io
