#include "tp/runtime/world.h"

#include <algorithm>
#include <utility>

#include "tp/core/contain.h"

namespace tp {

StatusOr<std::shared_ptr<World>> World::Start(Backend& backend, int size) {
  std::shared_ptr<World> world(new World(backend));
  TP_RETURN_IF_ERROR(Contain([&] {
    world->thread_ = std::thread([self = world.get(), size] { self->Live(size); });
    return OkStatus();
  }));
  std::unique_lock lock(world->mutex_);
  world->callers_look_.wait(lock, [&] { return world->met_ || world->over_; });
  if (world->over_) return world->outcome_;
  return world;
}

World::~World() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  ranks_look_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void World::Live(int size) {
  Status outcome = Contain([&] {
    return backend_.Run(size, [this](RankContext& context) { return RunOrders(context); });
  });
  const std::lock_guard lock(mutex_);
  if (outcome.ok()) outcome = FailedPrecondition("the ranks have ended");
  over_ = true;
  outcome_ = std::move(outcome);
  callers_look_.notify_all();
}

Status World::RunOrders(RankContext& context) {
  size_t seat = 0;
  {
    const std::lock_guard lock(mutex_);
    seat = done_.size();
    done_.push_back(0);
  }
  LocalRank rank{context, {}};
  Status status = Contain([&]() -> Status {
    TP_RETURN_IF_ERROR(context.Barrier());
    return RunOrdersOf(seat, rank);
  });
  if (!status.ok()) {
    const std::lock_guard lock(mutex_);
    failed_ = true;
    ranks_look_.notify_all();
    callers_look_.notify_all();
  }
  return status;
}

Status World::RunOrdersOf(size_t seat, LocalRank& rank) {
  {
    const std::lock_guard lock(mutex_);
    met_ = true;
    callers_look_.notify_all();
  }
  for (uint64_t number = 0;; ++number) {
    std::shared_ptr<const Order> order;
    TP_RETURN_IF_ERROR(rank.context.AwaitOutside([&] { order = Take(number); }));
    if (order == nullptr) return OkStatus();
    TP_RETURN_IF_ERROR((*order)(rank));
    const std::lock_guard lock(mutex_);
    done_[seat] = number + 1;
    const uint64_t all = *std::min_element(done_.begin(), done_.end());
    while (posted_ - orders_.size() < all) orders_.pop_front();
    callers_look_.notify_all();
  }
}

std::shared_ptr<const World::Order> World::Take(uint64_t number) {
  std::unique_lock lock(mutex_);
  ranks_look_.wait(lock, [&] { return failed_ || closing_ || posted_ > number; });
  if (failed_ || posted_ <= number) return nullptr;
  return orders_[number - (posted_ - orders_.size())];
}

// Why the world has ended: what the backend says once all ranks have left, as it knows who was
// first.
Status World::Outcome(std::unique_lock<std::mutex>& lock) {
  callers_look_.wait(lock, [&] { return over_; });
  return outcome_;
}

Status World::Post(Order order) {
  auto shared = std::make_shared<const Order>(std::move(order));
  std::unique_lock lock(mutex_);
  if (failed_ || over_) return Outcome(lock);
  orders_.push_back(std::move(shared));
  ++posted_;
  ranks_look_.notify_all();
  return OkStatus();
}

Status World::Wait() {
  std::unique_lock lock(mutex_);
  const uint64_t wanted = posted_;
  const auto done = [&] {
    return std::all_of(done_.begin(), done_.end(), [&](uint64_t done) { return done >= wanted; });
  };
  callers_look_.wait(lock, [&] { return failed_ || over_ || done(); });
  if (failed_ || over_) return Outcome(lock);
  return OkStatus();
}

Status World::Run(Order order) {
  TP_RETURN_IF_ERROR(Post(std::move(order)));
  return Wait();
}

}  // namespace tp
