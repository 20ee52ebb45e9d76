#include <glog/logging.h>

#include <algorithm>
#include <utility>

#include "sim/fabric/fiber.h"
#include "sim/fabric/scheduler.h"
#include "tp/core/contain.h"

namespace tp::sim {
namespace {

class Seeded final : public SeededScheduler {
 public:
  explicit Seeded(const SchedulerOptions& options) : state_(options.seed) {}

  Status Run(std::vector<Agent> agents) override {
    CHECK(current_ == nullptr) << "Run was called by an agent";
    for (Agent& agent : agents) Start(std::move(agent), /*given=*/true);
    if (!ready_.empty()) {
      Fiber caller;
      caller_ = &caller;
      current_ = PickReady();
      caller.SwitchTo(current_->fiber);  // comes back when all have ended
    }
    ended_.clear();
    return cause();
  }

  void Spawn(Agent agent) override { Start(std::move(agent), /*given=*/false); }

  Status Await(Signal& signal, uint64_t at_least, const WaitReason& reason) override {
    CHECK(current_ != nullptr) << "Await was called outside of an agent";
    if (signal.value() >= at_least) {
      YieldReady();
      return OkStatus();
    }
    if (aborted()) return AbortedStatus();
    current_->signal = &signal;
    current_->at_least = at_least;
    current_->reason = &reason;
    blocked_.push_back(current_);
    FindReady();
    SwitchToReady();
    if (signal.value() >= at_least) return OkStatus();
    return AbortedStatus();
  }

  Status AwaitOutside(const std::function<void()>& wait, const WaitReason& reason) override {
    CHECK(current_ != nullptr && current_->given) << "AwaitOutside was called by a spawned agent";
    if (aborted()) return AbortedStatus();
    current_->wait = &wait;
    current_->reason = &reason;
    outside_.push_back(current_);
    FindReady();
    SwitchToReady();
    return aborted() ? AbortedStatus() : OkStatus();
  }

  void Raise(Signal& signal, uint64_t value) override {
    Advance(signal, value);
    Unblock([&](const Task& task) { return task.signal == &signal && task.at_least <= value; });
    if (current_ != nullptr) YieldReady();
  }

  uint64_t choices() const override { return choices_; }
  uint64_t trace_hash() const override { return trace_hash_; }

 protected:
  void WakeAll() override {
    Unblock([](const Task&) { return true; });
    TakeOutside();
  }

 private:
  struct Task {
    Task(Seeded* scheduler, Agent agent, bool given)
        : scheduler(scheduler),
          agent(std::move(agent)),
          given(given),
          fiber(&Seeded::RunTask, this) {}

    Seeded* scheduler;
    Agent agent;
    const bool given;  // to Run; else spawned
    Fiber fiber;
    // While blocked: on what.
    Signal* signal = nullptr;
    uint64_t at_least = 0;
    const WaitReason* reason = nullptr;
    const std::function<void()>* wait = nullptr;  // while it awaits what is outside
  };

  void Start(Agent agent, bool given) {
    ended_.clear();  // their stacks serve again
    const int rank = agent.rank;
    Status started = Contain([&] {
      auto task = std::make_unique<Task>(this, std::move(agent), given);
      ready_.reserve(all_.size() + 1);
      blocked_.reserve(all_.size() + 1);
      outside_.reserve(all_.size() + 1);
      all_.push_back(std::move(task));
      ready_.push_back(all_.back().get());
      given_ += given ? 1 : 0;
      return OkStatus();
    });
    if (!started.ok()) Abort(rank, std::move(started));
  }

  static void RunTask(void* argument) {
    auto* task = static_cast<Task*>(argument);
    Seeded* self = task->scheduler;
    if (Status status = Contain(task->agent.body); !status.ok()) {
      self->Abort(task->agent.rank, std::move(status));
    }
    task->agent.body = nullptr;
    self->EndCurrent();
  }

  [[noreturn]] void EndCurrent() {
    Task* task = current_;
    // Its stack is in use until the switch below, so it is only set aside here.
    const auto it = std::find_if(all_.begin(), all_.end(),
                                 [&](const auto& owned) { return owned.get() == task; });
    ended_.push_back(std::move(*it));
    all_.erase(it);
    given_ -= task->given ? 1 : 0;
    FindReady();
    if (ready_.empty()) {
      current_ = nullptr;
      task->fiber.SwitchForGood(*caller_);
    }
    current_ = PickReady();
    task->fiber.SwitchForGood(current_->fiber);
  }

  // Where nobody is ready: what is outside decides, or it is a deadlock, or all have ended.
  void FindReady() {
    if (!ready_.empty()) return;
    if (given_ > 0 && outside_.size() == given_) {
      for (const Task* task : outside_) (*task->wait)();
      TakeOutside();
    } else if (!blocked_.empty() || !outside_.empty()) {
      Abort(-1, DeadlineExceeded(DescribeDeadlock()));  // which makes all of them ready
    }
  }

  void TakeOutside() {
    ready_.insert(ready_.end(), outside_.begin(), outside_.end());
    outside_.clear();
  }

  // Lets the seed choose who goes on: the running agent, or another that can.
  void YieldReady() {
    if (ready_.empty()) return;
    ready_.push_back(current_);
    SwitchToReady();
  }

  void SwitchToReady() {
    Task* from = current_;
    current_ = PickReady();
    if (current_ != from) from->fiber.SwitchTo(current_->fiber);
  }

  Task* PickReady() {
    size_t index = 0;
    if (ready_.size() > 1) {
      index = static_cast<size_t>((static_cast<unsigned __int128>(Next()) * ready_.size()) >> 64);
      ++choices_;
      trace_hash_ = (trace_hash_ ^ index) * 0x100000001b3u;  // FNV-1a
    }
    Task* task = ready_[index];
    ready_[index] = ready_.back();
    ready_.pop_back();
    return task;
  }

  // SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
  uint64_t Next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  template <typename Condition>
  void Unblock(const Condition& condition) {
    size_t kept = 0;
    for (Task* task : blocked_) {
      if (condition(*task)) {
        ready_.push_back(task);
      } else {
        blocked_[kept++] = task;
      }
    }
    blocked_.resize(kept);
  }

  std::string DescribeDeadlock() const {
    std::string text = "deadlock, nobody can run:";
    for (const std::vector<Task*>* waiting : {&blocked_, &outside_}) {
      for (const Task* task : *waiting) {
        text += "\n  " + task->agent.name + " waits for " + ToString(*task->reason);
      }
    }
    return text;
  }

  uint64_t state_;
  uint64_t choices_ = 0;
  uint64_t trace_hash_ = 0xcbf29ce484222325u;
  Fiber* caller_ = nullptr;  // of Run
  Task* current_ = nullptr;
  std::vector<std::unique_ptr<Task>> all_;    // started and not ended
  std::vector<std::unique_ptr<Task>> ended_;  // and not yet destroyed
  std::vector<Task*> ready_;                  // those of all_ that can run and do not
  std::vector<Task*> blocked_;                // those that wait for a signal
  std::vector<Task*> outside_;                // those that wait for what is outside
  size_t given_ = 0;                          // of all_: those that Run was given
};

}  // namespace

std::unique_ptr<SeededScheduler> MakeSeededScheduler(const SchedulerOptions& options) {
  return std::make_unique<Seeded>(options);
}

}  // namespace tp::sim
