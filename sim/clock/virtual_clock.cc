#include "sim/clock/virtual_clock.h"

#include <glog/logging.h>

#include <cmath>

namespace tp::sim {

Picos DurationOf(double amount, double per_second) {
  CHECK_GE(amount, 0);
  CHECK_GT(per_second, 0);
  // Two roundings stand in the quotient, and one more in what is taken off for them.
  constexpr double kRoundings = 3 * std::numeric_limits<double>::epsilon() / 2;
  const double exact = amount * kPicosPerSecond / per_second;
  const double picos = std::ceil(exact - exact * kRoundings);
  constexpr double kMost = 9e18;
  return picos < kMost ? static_cast<Picos>(picos) : kNever;
}

void VirtualClock::AdvanceTo(Picos to) {
  CHECK_GE(to, now_) << "virtual time does not go back";
  now_ = to;
}

}  // namespace tp::sim
