// Virtual time: whole picoseconds since a simulation began, and the clock that tells it.
//
// Integers, so that a run is the same bits in any build. An int64_t counts 106 days.
#pragma once

#include <cstdint>
#include <limits>

#include "tp/core/clock.h"

namespace tp::sim {

using Picos = int64_t;
inline constexpr Picos kNever = std::numeric_limits<Picos>::max();
inline constexpr double kPicosPerSecond = 1e12;

// How long `amount` takes at `per_second`, both positive or the amount zero: rounded up to a whole
// picosecond, but for what the division's own rounding may have added. kNever where that is beyond
// what can be counted.
Picos DurationOf(double amount, double per_second);

// Tells the time that a simulation has come to. One thread.
class VirtualClock final : public Clock {
 public:
  int64_t NowNs() const override { return now_ / 1000; }
  ClockKind kind() const override { return ClockKind::kPredicted; }

  Picos now() const { return now_; }
  // `to` is not before now.
  void AdvanceTo(Picos to);

 private:
  Picos now_ = 0;
};

}  // namespace tp::sim
