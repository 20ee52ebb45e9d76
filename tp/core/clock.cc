#include "tp/core/clock.h"

#include <ctime>

namespace tp {
namespace {

// clock_gettime is what POSIX lets a signal handler call; chrono promises nothing.
int64_t Read(clockid_t id) {
  timespec now = {};
  clock_gettime(id, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

class MonotonicClock final : public Clock {
 public:
  constexpr MonotonicClock() = default;
  int64_t NowNs() const override { return Read(CLOCK_MONOTONIC); }
  ClockKind kind() const override { return ClockKind::kMeasured; }
};

constinit const MonotonicClock kHostClock;

}  // namespace

std::string_view Name(ClockKind kind) {
  return kind == ClockKind::kMeasured ? "measured" : "predicted";
}

const Clock& HostClock() { return kHostClock; }

int64_t CalendarNs() { return Read(CLOCK_REALTIME); }

}  // namespace tp
