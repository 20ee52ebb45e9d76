// Ctrl-C, SIGTERM and the end of a terminal (SIGHUP) as a request: what was measured so far is
// written before the program ends.
//
// While an Interrupt lives, the first signal is noted and the program goes on; another one, unless
// it comes within a third of a second, ends it at once, as it would without. A signal that the
// program was started with ignoring stays ignored. At most one Interrupt lives at a time.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

namespace tp::io {

class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  // The signal that came, or 0. Any thread may call, at any time.
  static int Signal();

  // The exit status of a program that a signal ended: 128 and its number, as shells have it.
  static int ExitStatus() { return 128 + Signal(); }
};

// For work that can't be asked to stop: a signal that came, or comes while this lives, has `finish`
// run in a thread of its own; then the process ends with Interrupt::ExitStatus. `finish` must touch
// nothing that changes meanwhile, but what changes under Hold.
class ExitOnInterrupt {
 public:
  explicit ExitOnInterrupt(std::function<void()> finish);
  // Where `finish` runs already, this waits for the end of the process.
  ~ExitOnInterrupt();
  ExitOnInterrupt(const ExitOnInterrupt&) = delete;
  ExitOnInterrupt& operator=(const ExitOnInterrupt&) = delete;

  // While the lock is held, `finish` does not run.
  std::unique_lock<std::mutex> Hold() { return std::unique_lock(mutex_); }

 private:
  std::mutex mutex_;
  bool over_ = false;
  std::thread thread_;
};

// Where there is a `write`: an ExitOnInterrupt that calls it with `result`, marked incomplete. Both
// must outlive it.
template <typename Result>
std::optional<ExitOnInterrupt> ExitWith(Result& result,
                                        const std::function<void(const Result&)>& write) {
  if (!write) return std::nullopt;
  return std::optional<ExitOnInterrupt>(std::in_place, [&result, &write] {
    result.complete = false;
    write(result);
  });
}

// For a result that grows part by part, each put in under Hold: an Interrupt and an ExitWith of it.
// Without a `write` signals do what they always do.
class WriteOnInterrupt {
 public:
  // Both must outlive this.
  template <typename Result>
  WriteOnInterrupt(Result& result, const std::function<void(const Result&)>& write)
      : interrupt_(write ? std::make_unique<Interrupt>() : nullptr),
        exit_(ExitWith(result, write)) {}

  std::unique_lock<std::mutex> Hold() {
    return exit_ ? exit_->Hold() : std::unique_lock<std::mutex>();
  }

 private:
  std::unique_ptr<Interrupt> interrupt_;
  std::optional<ExitOnInterrupt> exit_;
};

}  // namespace tp::io
