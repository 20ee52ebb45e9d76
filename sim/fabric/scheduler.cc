#include "sim/fabric/scheduler.h"

#include <glog/logging.h>

#include <utility>

namespace tp::sim {

std::string ToString(const WaitReason& reason) {
  std::string text = reason.peer < 0 ? "" : "rank " + std::to_string(reason.peer) + ": ";
  text += reason.what;
  if (reason.call != nullptr) text += " in " + ToString(*reason.call);
  return text;
}

void Scheduler::Abort(int rank, Status cause) {
  CHECK(!cause.ok()) << "an abort needs an error as its cause";
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (aborted()) return;
    first_rank_ = rank;
    first_cause_ = std::move(cause);
    aborted_.store(true, std::memory_order_release);
  }
  WakeAll();
}

Status Scheduler::cause() const {
  std::lock_guard<std::mutex> lock(mutex_);
  if (first_rank_ < 0) return first_cause_;
  return first_cause_.WithContext("rank " + std::to_string(first_rank_));
}

Status Scheduler::AbortedStatus() const {
  std::lock_guard<std::mutex> lock(mutex_);
  const std::string who = first_rank_ < 0 ? "the world" : "rank " + std::to_string(first_rank_);
  return Aborted(who + " failed first: " + first_cause_.ToString());
}

}  // namespace tp::sim
