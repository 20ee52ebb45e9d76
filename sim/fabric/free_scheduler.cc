#include <sched.h>

#include <array>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <thread>
#include <utility>

#include "sim/fabric/scheduler.h"
#include "tp/core/contain.h"

namespace tp::sim {
namespace {

// A hand-off between running threads costs a few hundred ns, a sleep and its wake-up tens of us. So
// a wait first polls, then offers its core to others, and only then sleeps. It polls briefly: where
// there are more agents than cores, whoever is waited for may need this one. A core that was
// offered may be gone for a whole time slice, where another program computes: who sleeps is woken
// sooner.
constexpr int kPolls = 8;
constexpr int kYields = 200;
constexpr std::chrono::milliseconds kYielding(1);

void PollPause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

class FreeScheduler final : public Scheduler {
 public:
  explicit FreeScheduler(const SchedulerOptions& options) : deadline_(options.deadline) {}

  Status Run(std::vector<Agent> agents) override {
    for (Agent& agent : agents) Spawn(std::move(agent));
    while (true) {
      std::deque<std::thread> threads;
      {
        std::lock_guard<std::mutex> lock(threads_mutex_);
        threads.swap(threads_);
      }
      if (threads.empty()) return cause();  // a running agent may spawn more, an ended one cannot
      for (std::thread& thread : threads) thread.join();
    }
  }

  void Spawn(Agent agent) override {
    const int rank = agent.rank;
    std::lock_guard<std::mutex> lock(threads_mutex_);
    Status started = Contain([&] {
      threads_.emplace_back([this, agent = std::move(agent)] {
        if (Status status = Contain(agent.body); !status.ok()) {
          Abort(agent.rank, std::move(status));
        }
      });
      return OkStatus();
    });
    if (!started.ok()) Abort(rank, std::move(started));
  }

  Status Await(Signal& signal, uint64_t at_least, const WaitReason& reason) override {
    for (int i = 0; i < kPolls; ++i) {
      if (signal.value() >= at_least) return OkStatus();
      PollPause();
    }
    const auto until = std::chrono::steady_clock::now() + kYielding;
    for (int i = 0; i < kYields; ++i) {
      if (signal.value() >= at_least) return OkStatus();
      if (aborted() || std::chrono::steady_clock::now() > until) break;
      sched_yield();
    }
    return Sleep(signal, at_least, reason);
  }

  Status AwaitOutside(const std::function<void()>& wait, const WaitReason&) override {
    if (!aborted()) wait();
    return aborted() ? AbortedStatus() : OkStatus();
  }

  void Raise(Signal& signal, uint64_t value) override {
    Bed& bed = BedOf(signal);
    Advance(signal, value);
    // The signal may be gone from here on. Either this load sees the sleeper, or the sleeper, which
    // counted itself before it looked, sees the value: both are sequentially consistent.
    if (bed.sleepers.load() == 0) return;
    { std::lock_guard<std::mutex> lock(bed.mutex); }
    bed.wake.notify_all();
  }

 protected:
  void WakeAll() override {
    for (Bed& bed : beds_) {
      { std::lock_guard<std::mutex> lock(bed.mutex); }
      bed.wake.notify_all();
    }
  }

 private:
  // Where those sleep whose signals hash here; a stranger's wake-up only makes them look again.
  struct alignas(64) Bed {
    std::atomic<int> sleepers{0};
    std::mutex mutex;
    std::condition_variable wake;
  };

  Bed& BedOf(const Signal& signal) {
    const auto address = reinterpret_cast<uintptr_t>(&signal);
    return beds_[((address >> 3) * 0x9e3779b97f4a7c15u) >> (64 - kBedBits)];
  }

  Status Sleep(Signal& signal, uint64_t at_least, const WaitReason& reason) {
    const auto give_up = std::chrono::steady_clock::now() + deadline_;
    Bed& bed = BedOf(signal);
    bool late = false;
    std::unique_lock<std::mutex> lock(bed.mutex);
    bed.sleepers.fetch_add(1);
    while (signal.value() < at_least && !aborted() && !late) {
      late = bed.wake.wait_until(lock, give_up) == std::cv_status::timeout;
    }
    bed.sleepers.fetch_sub(1);
    if (signal.value() >= at_least) return OkStatus();
    if (aborted()) return AbortedStatus();
    const std::string who = reason.rank < 0 ? "an agent" : "rank " + std::to_string(reason.rank);
    return DeadlineExceeded(who + " waited " + std::to_string(deadline_.count()) + " ms for " +
                            ToString(reason));
  }

  static constexpr int kBedBits = 6;

  const std::chrono::milliseconds deadline_;
  std::array<Bed, 1 << kBedBits> beds_;
  std::mutex threads_mutex_;
  std::deque<std::thread> threads_;  // guarded by threads_mutex_
};

}  // namespace

std::unique_ptr<Scheduler> MakeFreeScheduler(const SchedulerOptions& options) {
  return std::make_unique<FreeScheduler>(options);
}

}  // namespace tp::sim
