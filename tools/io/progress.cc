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

ProgressBar::ProgressBar(std::string label, int64_t total, Options options)
    : label_(std::move(label)),
      total_(std::max<int64_t>(total, 1)),
      options_(std::move(options)),
      terminal_(isatty(options_.descriptor) == 1),
      begin_(terminal_ ? options_.now() : Clock::time_point()),
      due_(begin_ + 1s) {}

ProgressBar::~ProgressBar() {
  if (drawn_) Write(kEraseLine);
}

void ProgressBar::DrawWhenDue(int64_t done) {
  const Clock::time_point now = options_.now();
  if (now < due_) return;
  due_ = now + 100ms;

  const double part = static_cast<double>(std::clamp<int64_t>(done, 0, total_)) / total_;
  std::string status = fmt::format(" {:3.0f} %", 100 * part);
  if (part > 0) {
    const std::chrono::duration<double, std::nano> left = (now - begin_) * (1 / part - 1);
    status += fmt::format(", {} left", FormatDuration(left.count()));
  }
  // A line as wide as the terminal would wrap on some.
  const int room = TerminalWidth(options_.descriptor) - 1;
  const int bar = std::min(kMaxBarWidth, room - DisplayWidth(label_ + ' ' + status));
  if (bar < 0) return;
  drawn_ = true;
  const int filled = static_cast<int>(part * bar);
  Write(kEraseLine + label_ + ' ' + Repeat("━", filled) + Repeat("─", bar - filled) + status);
}

void ProgressBar::Write(const std::string& text) const {
  // A bar that cannot be drawn is no reason to stop the work.
  [[maybe_unused]] const ssize_t written = write(options_.descriptor, text.data(), text.size());
}

}  // namespace tp::io
