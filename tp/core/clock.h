// Clock: the only way to ask for the time. What is recorded says which kind of clock made it.
//
// Time is a parameter: who makes records is given a clock, so that another one, or a model of a
// machine, can stand in for the host's. Any thread may ask, and so may a signal handler where the
// clock is HostClock.
#pragma once

#include <cstdint>
#include <string_view>

namespace tp {

// Whether times were measured on the machine at hand, or worked out.
enum class ClockKind { kMeasured, kPredicted };
std::string_view Name(ClockKind kind);  // "measured", "predicted"

class Clock {
 public:
  virtual ~Clock() = default;

  // Nanoseconds since some moment in the past; never less than before.
  virtual int64_t NowNs() const = 0;
  virtual ClockKind kind() const = 0;
};

// The host's steady clock, CLOCK_MONOTONIC, which std::chrono::steady_clock reads, too. The
// processes of one host share it, those of two hosts do not.
const Clock& HostClock();

// The host's calendar: nanoseconds since 1970 began, in UTC. For names and dates, not for
// measuring.
int64_t CalendarNs();

}  // namespace tp
