#include "backends/nccl/control/local_control.h"

#include <fmt/format.h>

#include <atomic>
#include <optional>
#include <utility>

namespace tp::nccl {
namespace {

struct Meeting {
  explicit Meeting(int world) : bytes(world), begun(world) {}

  FirstFailure failure;
  std::mutex mutex;
  std::condition_variable changed;
  // Guarded by mutex. `bytes` is filled by those who come; the last one moves it to `gathered`.
  std::vector<std::optional<std::string>> bytes;
  int come = 0;
  int64_t round = 0;
  std::shared_ptr<const std::vector<std::string>> gathered;
  std::vector<std::atomic<int64_t>> begun;  // steps, by rank
};

class LocalControl : public Control {
 public:
  LocalControl(int rank, std::shared_ptr<Meeting> meeting)
      : rank_(rank), meeting_(std::move(meeting)) {}

  int rank() const override { return rank_; }
  int world() const override { return static_cast<int>(meeting_->bytes.size()); }

  StatusOr<std::vector<std::string>> Gather(std::string bytes, Receivers receivers,
                                            std::chrono::milliseconds deadline) override {
    Meeting& meeting = *meeting_;
    std::unique_lock lock(meeting.mutex);
    TP_RETURN_IF_ERROR(Failure());
    meeting.bytes[rank_] = std::move(bytes);
    const int64_t round = meeting.round;
    if (++meeting.come == world()) {
      FinishRound();
    } else {
      meeting.changed.wait_for(lock, deadline,
                               [&] { return meeting.round != round || !Failure().ok(); });
      if (meeting.round == round) {
        TP_RETURN_IF_ERROR(Failure());
        return Missing(deadline);
      }
    }
    // The next round cannot end without this rank, so `gathered` is still this round's.
    const auto gathered = meeting.gathered;
    lock.unlock();
    if (receivers == Receivers::kRoot && rank_ != 0) return std::vector<std::string>();
    return *gathered;
  }

  void BeginStep() override { ++meeting_->begun[rank_]; }
  std::string WhoIsLate() const override {
    return DescribeLate({meeting_->begun.begin(), meeting_->begun.end()});
  }

  void Fail(const Status& cause) override {
    meeting_->failure.Report(rank_, cause);
    std::lock_guard lock(meeting_->mutex);
    meeting_->changed.notify_all();
  }

  Status Failure() const override { return meeting_->failure.ErrorFor(rank_); }
  Status NamedFailure() const override { return meeting_->failure.Named(); }

 private:
  void FinishRound() {
    Meeting& meeting = *meeting_;
    std::vector<std::string> all;
    for (std::optional<std::string>& one : meeting.bytes) {
      all.push_back(*std::move(one));
      one.reset();
    }
    meeting.gathered = std::make_shared<const std::vector<std::string>>(std::move(all));
    meeting.come = 0;
    ++meeting.round;
    meeting.changed.notify_all();
  }

  Status Missing(std::chrono::milliseconds deadline) const {
    std::string missing;
    for (int rank = 0; rank < world(); ++rank) {
      if (!meeting_->bytes[rank]) missing += fmt::format(" {}", rank);
    }
    return DeadlineExceeded(
        fmt::format("waited {} ms for rank(s){} to come", deadline.count(), missing));
  }

  const int rank_;
  const std::shared_ptr<Meeting> meeting_;
};

}  // namespace

std::vector<std::unique_ptr<Control>> MakeLocalControls(int world) {
  auto meeting = std::make_shared<Meeting>(world);
  std::vector<std::unique_ptr<Control>> controls;
  for (int rank = 0; rank < world; ++rank) {
    controls.push_back(std::make_unique<LocalControl>(rank, meeting));
  }
  return controls;
}

}  // namespace tp::nccl
