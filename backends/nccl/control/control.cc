#include "backends/nccl/control/control.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
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

std::string DescribeLate(const std::vector<int64_t>& begun) {
  const auto [fewest, most] = std::ranges::minmax(begun);
  if (fewest == most) return "";
  std::vector<int> late;
  for (size_t rank = 0; rank < begun.size(); ++rank) {
    if (begun[rank] == fewest) late.push_back(static_cast<int>(rank));
  }
  const bool one = late.size() == 1;
  const std::string who = fmt::format("rank{} {}", one ? "" : "s", fmt::join(late, ", "));
  if (fewest == kEnded) return fmt::format("{} {} ended", who, one ? "has" : "have");
  if (fewest == kSilent) {
    return fmt::format("{} {} not answer: stopped, or {} machine is gone", who, one ? "does" : "do",
                       one ? "its" : "their");
  }
  return fmt::format("{} {} begun {} step{}, where others have begun {}", who, one ? "has" : "have",
                     fewest, fewest == 1 ? "" : "s", most);
}

}  // namespace tp::nccl
