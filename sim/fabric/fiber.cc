#include "sim/fabric/fiber.h"

#include <glog/logging.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <mutex>
#include <new>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

namespace tp::sim {
namespace {

constexpr size_t kStackBytes = size_t{1} << 20;

size_t GuardBytes() {
  static const auto bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

// Stacks that no fiber uses at present. Never destroyed: fibers may outlive static objects.
struct StackPool {
  std::mutex mutex;
  std::vector<std::byte*> free;
};

StackPool& Stacks() {
  static auto* const pool = new StackPool;
  return *pool;
}

std::byte* TakeStack() {
  {
    StackPool& pool = Stacks();
    std::lock_guard<std::mutex> lock(pool.mutex);
    if (!pool.free.empty()) {
      std::byte* mapping = pool.free.back();
      pool.free.pop_back();
      return mapping;
    }
  }
  void* mapping = mmap(nullptr, GuardBytes() + kStackBytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (mapping == MAP_FAILED) throw std::bad_alloc();
  if (mprotect(mapping, GuardBytes(), PROT_NONE) != 0) {  // it has a limit of its own, on mappings
    munmap(mapping, GuardBytes() + kStackBytes);
    throw std::bad_alloc();
  }
  return static_cast<std::byte*>(mapping);
}

void ReturnStack(std::byte* mapping) {
#if defined(__SANITIZE_ADDRESS__)
  // The frames of a fiber that ended never returned, so their red zones are still marked.
  ASAN_UNPOISON_MEMORY_REGION(mapping + GuardBytes(), kStackBytes);
#endif
  StackPool& pool = Stacks();
  std::lock_guard<std::mutex> lock(pool.mutex);
  pool.free.push_back(mapping);
}

}  // namespace

Fiber::Fiber() {
#if defined(__SANITIZE_THREAD__)
  tsan_fiber_ = __tsan_get_current_fiber();
#endif
}

Fiber::Fiber(void (*entry)(void*), void* argument)
    : entry_(entry), argument_(argument), mapping_(TakeStack()) {
  stack_bottom_ = mapping_ + GuardBytes();
  stack_bytes_ = kStackBytes;
  PCHECK(getcontext(&context_) == 0);
  context_.uc_stack.ss_sp = mapping_ + GuardBytes();
  context_.uc_stack.ss_size = kStackBytes;
  context_.uc_link = nullptr;
  const auto self = reinterpret_cast<uintptr_t>(this);
  makecontext(&context_, reinterpret_cast<void (*)()>(&Fiber::Start), 2,
              static_cast<unsigned int>(self >> 32), static_cast<unsigned int>(self));
  // AddressSanitizer clears all marks of the stack that is named here at every switch to it; the
  // announcements below make that needless, and it would forget what is out of bounds.
  context_.uc_stack = {};
#if defined(__SANITIZE_THREAD__)
  tsan_fiber_ = __tsan_create_fiber(0);
#endif
}

Fiber::~Fiber() {
  if (mapping_ == nullptr) return;
#if defined(__SANITIZE_THREAD__)
  __tsan_destroy_fiber(tsan_fiber_);
#endif
  ReturnStack(mapping_);
}

void Fiber::SwitchTo(Fiber& to) { Switch(to, false); }

void Fiber::SwitchForGood(Fiber& to) {
  Switch(to, true);
  LOG(FATAL) << "a fiber that had ended was switched to";
}

void Fiber::Switch(Fiber& to, bool for_good) {
  to.came_from_ = this;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(for_good ? nullptr : &fake_stack_, to.stack_bottom_,
                                 to.stack_bytes_);
#else
  static_cast<void>(for_good);
#endif
#if defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(to.tsan_fiber_, 0);
#endif
  PCHECK(swapcontext(&context_, &to.context_) == 0);
  Arrive();
}

// On the stack that was switched to: completes the announcement, which also tells where the stack
// lies that was left. That is how a thread's own stack becomes known.
void Fiber::Arrive() {
#if defined(__SANITIZE_ADDRESS__)
  const void* bottom = nullptr;
  size_t bytes = 0;
  __sanitizer_finish_switch_fiber(fake_stack_, &bottom, &bytes);
  came_from_->stack_bottom_ = bottom;
  came_from_->stack_bytes_ = bytes;
#endif
}

// makecontext hands on nothing wider than an int.
void Fiber::Start(unsigned int high, unsigned int low) {
  auto* self = reinterpret_cast<Fiber*>((static_cast<uintptr_t>(high) << 32) | low);
  self->Arrive();
  self->entry_(self->argument_);
  LOG(FATAL) << "a fiber's entry returned";
}

}  // namespace tp::sim
