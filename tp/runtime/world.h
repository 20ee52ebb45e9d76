// World: the ranks of a backend, kept alive, and orders for them.
//
// Each rank of this process runs the orders that were posted, one after the other, in its own
// thread. Where there is one process a rank, every process posts the same orders. The first order
// that fails on a rank ends the world: all ranks leave, what they own is destroyed in their
// threads, and every call from then on returns the error, which names the rank and its cause.
//
// Thread-safe; the backend outlives it, and runs nothing else meanwhile.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "tp/core/status.h"
#include "tp/runtime/backend.h"
#include "tp/runtime/executor.h"

namespace tp {

// A rank of this process, as an order sees it.
struct LocalRank {
  RankContext& context;
  std::map<int, std::unique_ptr<Executor>> executors;  // by the number of their session
};

class World {
 public:
  using Order = std::function<Status(LocalRank&)>;

  // Has `backend` start `size` ranks, and returns when all have come. Errors: the backend's.
  static StatusOr<std::shared_ptr<World>> Start(Backend& backend, int size);
  // Waits for the orders that were posted.
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // A number that no session of this world has yet; the same in every process.
  int NewNumber() { return numbers_++; }
  // Whether rank 0 lives in this process.
  bool IsRoot() const { return backend_.IsRoot(); }

  // Hands `order` to every rank and returns. Errors: the world has ended; why.
  Status Post(Order order);
  // Until every rank of this process has run what was posted before. Errors: the same.
  Status Wait();
  // Post and Wait: `order` may refer to what the caller owns.
  Status Run(Order order);

 private:
  explicit World(Backend& backend) : backend_(backend) {}
  void Live(int size);
  Status RunOrders(RankContext& context);
  Status RunOrdersOf(size_t seat, LocalRank& rank);
  // The order number `number`, or null where the rank is to leave.
  std::shared_ptr<const Order> Take(uint64_t number);
  Status Outcome(std::unique_lock<std::mutex>& lock);

  Backend& backend_;
  int numbers_ = 0;
  std::mutex mutex_;  // guards all below
  std::condition_variable ranks_look_;
  std::condition_variable callers_look_;
  std::deque<std::shared_ptr<const Order>> orders_;  // the last ones: some rank still needs them
  uint64_t posted_ = 0;
  std::vector<uint64_t> done_;  // by rank of this process, as they came
  bool met_ = false;            // all ranks have come
  bool closing_ = false;
  bool failed_ = false;  // an order failed, or a rank could not come
  bool over_ = false;    // the backend's run has ended, with outcome_
  Status outcome_;
  std::thread thread_;
};

}  // namespace tp
