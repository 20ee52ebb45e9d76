#include "sim/fabric/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "sim/fabric/fiber.h"

namespace tp::sim {
namespace {

using testing::HasSubstr;

struct Maker {
  const char* name;
  std::unique_ptr<Scheduler> (*make)(const SchedulerOptions&);
};

class AnySchedulerTest : public testing::TestWithParam<Maker> {
 protected:
  // No test here may need the deadline, so that it is far away.
  std::unique_ptr<Scheduler> scheduler_ =
      GetParam().make({.deadline = std::chrono::hours(1), .seed = 3});
};

INSTANTIATE_TEST_SUITE_P(
    All, AnySchedulerTest,
    testing::Values(Maker{"free", &MakeFreeScheduler},
                    Maker{"seeded",
                          [](const SchedulerOptions& options) -> std::unique_ptr<Scheduler> {
                            return MakeSeededScheduler(options);
                          }}),
    [](const auto& info) { return info.param.name; });

TEST_P(AnySchedulerTest, HandsOverWhatWasWrittenBeforeTheRaise) {
  constexpr uint64_t kRounds = 2000;
  Signal ping, pong;
  uint64_t shared = 0;
  const auto play = [&](int rank, Signal& mine, Signal& other, uint64_t lead) {
    return Agent{"player", rank, [&, rank, lead]() -> Status {
                   for (uint64_t round = 1; round <= kRounds; ++round) {
                     TP_RETURN_IF_ERROR(scheduler_->Await(other, round - lead, {"a turn", rank}));
                     ++shared;
                     scheduler_->Raise(mine, round);
                   }
                   return OkStatus();
                 }};
  };
  const Status status = scheduler_->Run({play(0, ping, pong, 1), play(1, pong, ping, 0)});
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(shared, 2 * kRounds);
}

TEST_P(AnySchedulerTest, RaiseNeverLowersASignal) {
  Signal signal;
  scheduler_->Raise(signal, 5);
  scheduler_->Raise(signal, 3);
  EXPECT_EQ(signal.value(), 5u);
}

TEST_P(AnySchedulerTest, WaitsForSpawnedAgentsAndLetsThemBeJoined) {
  int finished = 0;
  Signal done;
  const Status status =
      scheduler_->Run({{"host", 0, [&]() -> Status {
                          scheduler_->Spawn({"worker", 0, [&] {
                                               ++finished;
                                               scheduler_->Raise(done, 1);
                                               return OkStatus();
                                             }});
                          TP_RETURN_IF_ERROR(scheduler_->Await(done, 1, {"the worker", 0}));
                          EXPECT_EQ(finished, 1);
                          scheduler_->Spawn({"straggler", 0, [&] {
                                               ++finished;
                                               return OkStatus();
                                             }});
                          return OkStatus();
                        }}});
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(finished, 2);
}

TEST_P(AnySchedulerTest, EveryWaitNamesTheFirstRankToFailAndItsCause) {
  constexpr int kRanks = 4;
  Signal never, all_there;
  std::vector<Status> statuses(kRanks);
  std::vector<Agent> agents;
  std::vector<Signal> there(kRanks);
  for (int rank = 0; rank < kRanks; ++rank) {
    agents.push_back({"rank", rank, [&, rank]() -> Status {
                        scheduler_->Raise(there[rank], 1);
                        if (rank != 2) {
                          return statuses[rank] = scheduler_->Await(never, 1, {"rain", rank});
                        }
                        for (Signal& signal : there) {
                          TP_RETURN_IF_ERROR(scheduler_->Await(signal, 1, {"a start", rank}));
                        }
                        return statuses[rank] = InvalidArgument("the .npy ends early");
                      }});
  }
  const Status status = scheduler_->Run(std::move(agents));
  EXPECT_EQ(status.ToString(), "INVALID_ARGUMENT: rank 2: the .npy ends early");
  EXPECT_TRUE(scheduler_->aborted());
  for (int rank : {0, 1, 3}) {
    EXPECT_EQ(statuses[rank].ToString(),
              "ABORTED: rank 2 failed first: INVALID_ARGUMENT: the .npy ends early");
  }
}

TEST_P(AnySchedulerTest, AbortKeepsTheFirstCauseAndSparesSatisfiedWaits) {
  Signal raised, never;
  const Status status =
      scheduler_->Run({{"host", 0, [&]() -> Status {
                          scheduler_->Raise(raised, 1);
                          scheduler_->Abort(7, Unavailable("no cable"));
                          scheduler_->Abort(8, Internal("later"));
                          EXPECT_TRUE(scheduler_->Await(raised, 1, {"done", 0}).ok());
                          return scheduler_->Await(never, 1, {"rain", 0});
                        }}});
  EXPECT_EQ(status.ToString(), "UNAVAILABLE: rank 7: no cable");
}

TEST_P(AnySchedulerTest, RunsAgainAfterARunThatWentWell) {
  int runs = 0;
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(scheduler_->Run({{"one", 0, [&] { return ++runs, OkStatus(); }}}).ok());
  }
  EXPECT_TRUE(scheduler_->Run({}).ok());
  EXPECT_EQ(runs, 3);
}

TEST(FreeSchedulerTest, DeadlineNamesWhoWaitsForWhomAndWhat) {
  const auto scheduler = MakeFreeScheduler({.deadline = std::chrono::milliseconds(20), .seed = 0});
  Signal never;
  CollectiveCall call;
  call.kind = CollectiveKind::kAllReduce;
  call.counts = {10};
  const Status status =
      scheduler->Run({{"rank 0", 0, [&] {
                         return scheduler->Await(never, 1, {"its arrival", 0, 3, &call});
                       }}});
  EXPECT_EQ(status.ToString(),
            "DEADLINE_EXCEEDED: rank 0: rank 0 waited 20 ms for rank 3: its arrival in "
            "all_reduce(sum, fp32, 10 elements)");
}

// Every agent takes two steps and notes its letter at each: the order in which it got its turns.
std::string OrderOfTurns(SeededScheduler& scheduler, int agents) {
  std::string order;
  Signal steps;
  std::vector<Agent> all;
  for (int i = 0; i < agents; ++i) {
    all.push_back({"agent", i, [&, i] {
                     for (int step = 0; step < 2; ++step) {
                       order += static_cast<char>('a' + i);
                       scheduler.Raise(steps, 1);
                     }
                     return OkStatus();
                   }});
  }
  EXPECT_TRUE(scheduler.Run(std::move(all)).ok());
  return order;
}

TEST(SeededSchedulerTest, SameSeedSameRun) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const auto first = MakeSeededScheduler({.deadline = {}, .seed = seed});
    const auto second = MakeSeededScheduler({.deadline = {}, .seed = seed});
    EXPECT_EQ(OrderOfTurns(*first, 5), OrderOfTurns(*second, 5));
    EXPECT_EQ(first->trace_hash(), second->trace_hash());
    EXPECT_EQ(first->choices(), second->choices());
    EXPECT_GT(first->choices(), 0u);
  }
}

TEST(SeededSchedulerTest, SeedsReachEveryOrder) {
  std::set<std::string> orders;
  std::set<uint64_t> hashes;
  for (uint64_t seed = 0; seed < 500; ++seed) {
    const auto scheduler = MakeSeededScheduler({.deadline = {}, .seed = seed});
    orders.insert(OrderOfTurns(*scheduler, 2));
    hashes.insert(scheduler->trace_hash());
  }
  EXPECT_EQ(orders, (std::set<std::string>{"aabb", "abab", "abba", "baab", "baba", "bbaa"}));
  EXPECT_GE(hashes.size(), orders.size());
}

TEST(SeededSchedulerTest, ReportsADeadlockWithWhoWaitsForWhom) {
  const auto scheduler = MakeSeededScheduler({.deadline = {}, .seed = 1});
  Signal a, b;
  std::vector<Status> statuses(2);
  const Status status =
      scheduler->Run({{"rank 0", 0,
                       [&] {
                         return statuses[0] = scheduler->Await(a, 1, {"a message", 0, 1});
                       }},
                      {"rank 1", 1,
                       [&] {
                         return statuses[1] = scheduler->Await(b, 2, {"a message", 1, 0});
                       }},
                      {"rank 2", 2, [&] { return scheduler->Raise(b, 1), OkStatus(); }}});
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded);
  EXPECT_THAT(status.message(), HasSubstr("deadlock, nobody can run:"));
  EXPECT_THAT(status.message(), HasSubstr("\n  rank 0 waits for rank 1: a message"));
  EXPECT_THAT(status.message(), HasSubstr("\n  rank 1 waits for rank 0: a message"));
  for (const Status& each : statuses) {
    EXPECT_EQ(each.code(), StatusCode::kAborted);
    EXPECT_THAT(each.message(), HasSubstr("deadlock"));
  }
}

// Recursion that the compiler cannot flatten; each frame is about a kilobyte.
int Deep(int levels) {
  volatile char frame[1024];
  frame[levels % 1024] = static_cast<char>(levels);
  return levels == 0 ? 0 : 1 + Deep(levels - 1) + 0 * frame[levels % 1024];
}

TEST(SeededSchedulerTest, AgentsHaveStacksOfTheirOwnAndReuseThem) {
  constexpr int kLevels = 200;
  for (int round = 0; round < 20; ++round) {
    const auto scheduler = MakeSeededScheduler({.deadline = {}, .seed = 1});
    Signal step;
    std::vector<Agent> agents;
    for (int i = 0; i < 8; ++i) {
      agents.push_back({"agent", i, [&, i] {
                          int mine = i;
                          scheduler->Raise(step, 1);
                          EXPECT_EQ(Deep(kLevels), kLevels);
                          scheduler->Raise(step, 1);
                          EXPECT_EQ(mine, i);
                          return OkStatus();
                        }});
    }
    EXPECT_TRUE(scheduler->Run(std::move(agents)).ok());
  }
}

TEST(FiberTest, SwitchesBackAndForth) {
  struct Shared {
    Fiber main;
    Fiber* fiber = nullptr;
    int count = 0;
  } shared;
  Fiber fiber(
      [](void* argument) {
        auto* shared = static_cast<Shared*>(argument);
        for (int i = 0; i < 10; ++i) {
          ++shared->count;
          shared->fiber->SwitchTo(shared->main);
        }
        shared->fiber->SwitchForGood(shared->main);
      },
      &shared);
  shared.fiber = &fiber;
  for (int i = 1; i <= 10; ++i) {
    shared.main.SwitchTo(fiber);
    EXPECT_EQ(shared.count, i);
  }
  shared.main.SwitchTo(fiber);
  EXPECT_EQ(shared.count, 10);
}

// Orders from another thread: a count that it raises.
class Orders {
 public:
  void Give(int count) {
    {
      const std::lock_guard lock(mutex_);
      given_ = count;
    }
    came_.notify_all();
  }
  void Await(int count) {
    std::unique_lock lock(mutex_);
    came_.wait(lock, [&] { return given_ >= count; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable came_;
  int given_ = 0;
};

// Two hosts that do what they are told, and a worker of each that they leave behind.
std::vector<Agent> Hosts(Scheduler& scheduler, Orders& orders, std::vector<Signal>& done,
                         std::atomic<int>& worked, int rounds) {
  std::vector<Agent> hosts;
  for (int rank = 0; rank < 2; ++rank) {
    hosts.push_back({"host", rank, [&scheduler, &orders, &done, &worked, rank, rounds]() -> Status {
                       for (int round = 1; round <= rounds; ++round) {
                         TP_RETURN_IF_ERROR(scheduler.AwaitOutside(
                             [&] { orders.Await(round); }, {.what = "an order", .rank = rank}));
                         scheduler.Spawn({"worker", rank, [&worked] {
                                            ++worked;
                                            return OkStatus();
                                          }});
                         scheduler.Raise(done[rank], round);
                         TP_RETURN_IF_ERROR(
                             scheduler.Await(done[1 - rank], round, {"the other", rank, 1 - rank}));
                       }
                       return OkStatus();
                     }});
  }
  return hosts;
}

TEST_P(AnySchedulerTest, ObeysOrdersFromOutside) {
  Orders orders;
  std::vector<Signal> done(2);
  std::atomic<int> worked = 0;
  std::thread outside([&] {
    for (int round = 1; round <= 50; ++round) orders.Give(round);
  });
  const Status status = scheduler_->Run(Hosts(*scheduler_, orders, done, worked, 50));
  outside.join();
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(worked, 100);
}

// When orders come changes nothing: all at once, or each when the last one is done.
TEST(SeededSchedulerTest, OrdersFromOutsideLeaveARunToItsSeed) {
  std::set<uint64_t> hashes;
  for (bool at_once : {true, false, false}) {
    const auto scheduler = MakeSeededScheduler({.seed = 5});
    Orders orders;
    std::vector<Signal> done(2);
    std::atomic<int> worked = 0;
    std::thread outside([&] {
      for (int round = at_once ? 20 : 1; round <= 20; ++round) {
        while (!at_once && worked < 2 * (round - 1)) std::this_thread::yield();
        orders.Give(round);
      }
    });
    EXPECT_TRUE(scheduler->Run(Hosts(*scheduler, orders, done, worked, 20)).ok());
    outside.join();
    EXPECT_EQ(worked, 40);
    hashes.insert(scheduler->trace_hash());
  }
  EXPECT_EQ(hashes.size(), 1u);
}

TEST(SeededSchedulerTest, WhoWaitsForOneThatAwaitsOrdersIsADeadlock) {
  const auto scheduler = MakeSeededScheduler({.seed = 5});
  Signal never;
  const Status status =
      scheduler->Run({{"host 0", 0,
                       [&] {
                         return scheduler->Await(never, 1, {"a message", 0, 1});
                       }},
                      {"host 1", 1, [&] {
                         return scheduler->AwaitOutside([] { ADD_FAILURE() << "it blocks all"; },
                                                        {.what = "an order", .rank = 1});
                       }}});
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded);
  EXPECT_THAT(status.message(), HasSubstr("host 0 waits for rank 1: a message"));
  EXPECT_THAT(status.message(), HasSubstr("host 1 waits for an order"));
}

}  // namespace
}  // namespace tp::sim
