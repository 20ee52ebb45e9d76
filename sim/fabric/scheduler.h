// Scheduler: runs agents and everything on which they wait. An agent is one thread of control: a
// rank's host, or a stream's worker.
//
// Two schedulers run the same code:
//   free    one OS thread an agent, at full speed, every wait under a deadline;
//   seeded  one agent runs at a time, and a seed picks which one at every Await and Raise. There is
//           no clock: when nobody can run, the deadlock is reported at once with who waits for
//           whom. The same seed gives the same run.
//
// The first error, returned by an agent's body or handed to Abort, aborts the world: every wait
// that is not yet satisfied returns ABORTED, naming the rank that failed first and its cause.
// Memory that other agents may be reading at that moment must live until those have ended.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "sim/fabric/signal.h"
#include "tp/core/collective.h"
#include "tp/core/status.h"

namespace tp::sim {

// Who waits for what; becomes text only where the wait fails.
struct WaitReason {
  const char* what = "";                 // static text, as in "a message"
  int rank = -1;                         // who waits; -1: not a rank
  int peer = -1;                         // for which rank; -1: nobody in particular
  const CollectiveCall* call = nullptr;  // in which collective, where one is known
};

// "rank 1: a message in all_reduce(sum, fp32, 10 elements)": what is waited for.
std::string ToString(const WaitReason& reason);

struct Agent {
  std::string name;  // for reports, as in "rank 0"
  int rank = -1;     // the rank to blame if it fails
  std::function<Status()> body;
};

class Scheduler {
 public:
  virtual ~Scheduler() = default;

  // Runs `agents`, and those that they spawn, until all have ended. OK, or cause().
  virtual Status Run(std::vector<Agent> agents) = 0;

  // Starts one more agent, from inside a running one. To join it, await a Signal that it raises.
  virtual void Spawn(Agent agent) = 0;

  // Returns once `signal` is at least `at_least`: OK. Until then it blocks, and may fail with
  // DEADLINE_EXCEEDED (free only) or ABORTED. A satisfied wait is OK even in an aborted world.
  // Allocates nothing unless it fails.
  virtual Status Await(Signal& signal, uint64_t at_least, const WaitReason& reason) = 0;

  // Calls `wait`, which blocks its thread until something comes from outside of the world, and
  // returns then: OK, or ABORTED. For the agents that Run was given. The free scheduler calls it at
  // once. The seeded one calls it when all those agents have come here and no spawned one can run,
  // so that the run stays a function of the seed and of what comes, not of when it comes; where one
  // of them waits for a signal instead, that is a deadlock.
  virtual Status AwaitOutside(const std::function<void()>& wait, const WaitReason& reason) = 0;

  // Sets the signal to the larger of its value and `value`, and wakes whom that satisfies.
  virtual void Raise(Signal& signal, uint64_t value) = 0;

  // Ends the world because `rank` met `cause`, an error. The first call counts, others do nothing.
  void Abort(int rank, Status cause);

  bool aborted() const { return aborted_.load(std::memory_order_acquire); }

  // OK while nothing has failed; then the first error, its message led by "rank R: ".
  Status cause() const;

  // What a wait returns in an aborted world: ABORTED, "rank R failed first: CODE: message".
  Status AbortedStatus() const;

 protected:
  virtual void WakeAll() = 0;

  static void Advance(Signal& signal, uint64_t value) { signal.Advance(value); }

 private:
  mutable std::mutex mutex_;
  int first_rank_ = -1;  // guarded by mutex_, as is first_cause_
  Status first_cause_;
  std::atomic<bool> aborted_{false};
};

// A scheduler whose run is a function of its seed.
class SeededScheduler : public Scheduler {
 public:
  // How often the seed had a choice, and a hash of all that it chose: equal for equal runs.
  virtual uint64_t choices() const = 0;
  virtual uint64_t trace_hash() const = 0;
};

struct SchedulerOptions {
  std::chrono::milliseconds deadline{30000};  // of one wait; the free scheduler only
  uint64_t seed = 0;                          // the seeded scheduler only
};

std::unique_ptr<Scheduler> MakeFreeScheduler(const SchedulerOptions& options);
std::unique_ptr<SeededScheduler> MakeSeededScheduler(const SchedulerOptions& options);

}  // namespace tp::sim
