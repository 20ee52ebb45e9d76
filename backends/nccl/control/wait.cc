#include "backends/nccl/control/wait.h"

#include <fmt/format.h>

#include <string>
#include <thread>

namespace tp::nccl {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kEager(2);
constexpr std::chrono::microseconds kPause(20);
constexpr std::chrono::milliseconds kNewsTakes(2000);

}  // namespace

Status WaitUntil(const Control& control, std::chrono::milliseconds deadline, std::string_view what,
                 const std::function<StatusOr<bool>()>& done) {
  const Clock::time_point begin = Clock::now();
  while (true) {
    TP_ASSIGN_OR_RETURN(const bool is_done, done());
    if (is_done) return OkStatus();
    TP_RETURN_IF_ERROR(control.Failure());
    const Clock::duration waited = Clock::now() - begin;
    if (waited > deadline) {
      const std::string late = control.WhoIsLate();
      TP_RETURN_IF_ERROR(control.Failure());
      return DeadlineExceeded(fmt::format("{} did not end in {} ms{}{}", what, deadline.count(),
                                          late.empty() ? "" : "; ", late));
    }
    if (waited > kEager) std::this_thread::sleep_for(kPause);
  }
}

void AwaitEarlierFailure(const Control& control) {
  const Clock::time_point begin = Clock::now();
  while (control.Failure().ok() && Clock::now() - begin < kNewsTakes) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

}  // namespace tp::nccl
