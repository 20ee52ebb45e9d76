#include "backends/nccl/control/control.h"

#include <fmt/format.h>

#include <utility>

namespace tp::nccl {

void FirstFailure::Report(int rank, Status cause) {
  std::lock_guard lock(mutex_);
  if (failed_) return;
  rank_ = rank;
  cause_ = std::move(cause);
  failed_ = true;
}

Status FirstFailure::ErrorFor(int rank) const {
  if (!failed_) return OkStatus();
  if (rank == rank_) return Named();  // neither changes once set
  return Aborted(fmt::format("rank {} failed first: {}", rank_, cause_.ToString()));
}

Status FirstFailure::Named() const {
  if (!failed_) return OkStatus();
  return cause_.WithContext(fmt::format("rank {}", rank_));
}

}  // namespace tp::nccl
