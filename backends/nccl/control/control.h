// Control: how ranks meet outside of NCCL: gathering, barriers, and word of a failure.
//
// It is what still works when a collective hangs, so it is what names the rank that failed first.
// One object a rank. Gather is called by the rank's own thread, by all ranks in the same order;
// Fail and Failure by any thread.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "tp/core/status.h"

namespace tp::nccl {

// The first failure of a world, as one process knows it.
class FirstFailure {
 public:
  // Later reports are dropped.
  void Report(int rank, Status cause);

  // OK until a failure is known. Then its own cause for the rank that failed, named, and ABORTED
  // with that rank and cause for the others.
  Status ErrorFor(int rank) const;
  // OK, or the cause with the rank's name before it, whoever asks.
  Status Named() const;

 private:
  std::atomic<bool> failed_{false};  // set once rank_ and cause_ are, which then stay
  std::mutex mutex_;                 // held by those who report
  int rank_ = -1;
  Status cause_;
};

// In the place of a number of steps: a rank that ended in good order, and one that does not answer.
inline constexpr int64_t kEnded = -2, kSilent = -1;

// Who keeps the others waiting, from the steps that each rank has begun: those that ended, or else
// those that do not answer, or else those that have begun the fewest. Empty where all are alike.
std::string DescribeLate(const std::vector<int64_t>& begun);

enum class Receivers { kRoot, kEveryone };

class Control {
 public:
  virtual ~Control() = default;

  virtual int rank() const = 0;
  virtual int world() const = 0;

  // Everyone's bytes in rank order, where this rank is among the receivers; nothing for the others.
  // Errors: DEADLINE_EXCEEDED that names who is missing, as far as it is known; Failure().
  virtual StatusOr<std::vector<std::string>> Gather(std::string bytes, Receivers receivers,
                                                    std::chrono::milliseconds deadline) = 0;

  // To be called as this rank begins a step that all ranks take together.
  virtual void BeginStep() = 0;
  // DescribeLate of all ranks, as they are now; takes up to 4 s where one does not answer. For the
  // error of a wait that met its deadline.
  virtual std::string WhoIsLate() const = 0;

  // Tells all ranks that this one failed.
  virtual void Fail(const Status& cause) = 0;
  // What this rank knows: see FirstFailure::ErrorFor. Cheap while all is well.
  virtual Status Failure() const = 0;
  // See FirstFailure::Named.
  virtual Status NamedFailure() const = 0;
};

}  // namespace tp::nccl
