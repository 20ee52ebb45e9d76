#include "tools/io/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "tools/io/table.h"

namespace tp::io {
namespace {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;

constexpr int kMaxBarWidth = 40;
constexpr auto kFirstBar = 1s;  // of a stage, on a terminal
constexpr auto kNextBar = 200ms;
constexpr auto kNextLine = 10s;  // elsewhere
constexpr char kEraseLine[] = "\r\x1b[K";

int TerminalWidth(int descriptor) {
  winsize size = {};
  if (ioctl(descriptor, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

std::string Repeat(std::string_view text, int count) {
  std::string repeated;
  for (int i = 0; i < count; ++i) repeated += text;
  return repeated;
}

}  // namespace

Progress::Progress(Options options)
    : options_(std::move(options)),
      terminal_(isatty(options_.descriptor) == 1),
      begin_(options_.now()),
      due_(begin_ + kNextLine) {
  if (options_.thread) thread_ = std::thread([this] { Run(); });
}

Progress::~Progress() {
  End();
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Progress::Begin(std::string_view label, int64_t total) {
  const std::lock_guard lock(mutex_);
  under_way_ = true;
  label_ = label;
  total_ = total;
  done_ = 0;
  begin_ = options_.now();
  if (terminal_) due_ = begin_ + kFirstBar;
}

void Progress::Update(std::string_view label, int64_t done) {
  const std::lock_guard lock(mutex_);
  if (label_ != label) label_ = label;
  done_ = done;
}

void Progress::End() {
  const std::lock_guard lock(mutex_);
  under_way_ = false;
  if (drawn_) Write(kEraseLine);
  drawn_ = false;
}

void Progress::Around(const std::function<void()>& print) {
  const std::lock_guard lock(mutex_);
  if (drawn_) Write(kEraseLine);
  print();
  if (drawn_) Draw(options_.now());
}

void Progress::Tick() {
  const std::lock_guard lock(mutex_);
  const Clock::time_point now = options_.now();
  if (!under_way_ || now < due_) return;
  due_ = now + (terminal_ ? Clock::duration(kNextBar) : Clock::duration(kNextLine));
  Draw(now);
}

void Progress::Run() {
  std::unique_lock lock(mutex_);
  while (!ended_) {
    changed_.wait_for(lock, terminal_ ? Clock::duration(kNextBar) : Clock::duration(kFirstBar));
    lock.unlock();
    Tick();
    lock.lock();
  }
}

std::string Progress::Status(Clock::time_point now) const {
  const std::chrono::duration<double, std::nano> spent = now - begin_;
  if (total_ <= 0) return fmt::format(" {}", FormatDuration(spent.count()));
  const double part = static_cast<double>(std::clamp<int64_t>(done_, 0, total_)) / total_;
  const std::string percent = fmt::format(" {:3.0f} %", 100 * part);
  if (part == 0) return percent;
  return fmt::format("{}, {} left", percent, FormatDuration(spent.count() * (1 / part - 1)));
}

void Progress::Draw(Clock::time_point now) {
  const std::string status = Status(now);
  if (!terminal_) {
    Write(fmt::format("{}: {}{}\n", options_.tool, label_, status));
    return;
  }
  // A line as wide as the terminal would wrap on some.
  const int room = TerminalWidth(options_.descriptor) - 1 - DisplayWidth(label_ + ' ' + status);
  if (room < 0) return;
  const int bar = total_ > 0 ? std::min(kMaxBarWidth, room) : 0;
  const int filled =
      total_ > 0 ? static_cast<int>(std::clamp<int64_t>(done_, 0, total_) * bar / total_) : 0;
  drawn_ = true;
  Write(kEraseLine + label_ + ' ' + Repeat("━", filled) + Repeat("─", bar - filled) + status);
}

void Progress::Write(const std::string& text) const {
  // A bar that cannot be drawn is no reason to stop the work.
  [[maybe_unused]] const ssize_t written = write(options_.descriptor, text.data(), text.size());
}

}  // namespace tp::io
