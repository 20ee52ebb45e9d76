// Fiber: a thread of control with a stack of its own that runs on the OS thread which switches to
// it, as long as nobody switches away. A switch costs a fraction of a microsecond (POSIX
// swapcontext), needs no lock, and is announced to AddressSanitizer and ThreadSanitizer.
//
// Stacks are 1 MiB with an unmapped page below, so that an overflow faults instead of corrupting;
// they are kept for the next fiber. Fibers that switch to each other stay on one OS thread.
#pragma once

#include <ucontext.h>

#include <cstddef>

namespace tp::sim {

class Fiber {
 public:
  // The calling thread itself, so that fibers can switch back to it.
  Fiber();

  // Runs entry(argument) when first switched to. `entry` must never return: it ends by
  // SwitchForGood.
  Fiber(void (*entry)(void*), void* argument);

  // The fiber must not be running and, unless it was never started, must have switched for good.
  ~Fiber();

  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Leaves this fiber, which must be the running one, and continues `to`. Returns when somebody
  // switches back.
  void SwitchTo(Fiber& to);
  [[noreturn]] void SwitchForGood(Fiber& to);

 private:
  static void Start(unsigned int high, unsigned int low);
  void Switch(Fiber& to, bool for_good);
  void Arrive();

  ucontext_t context_;
  void (*entry_)(void*) = nullptr;
  void* argument_ = nullptr;
  std::byte* mapping_ = nullptr;  // guard page and stack; null for a thread's own

  // For the sanitizers only.
  const void* stack_bottom_ = nullptr;
  size_t stack_bytes_ = 0;
  void* fake_stack_ = nullptr;
  Fiber* came_from_ = nullptr;
  void* tsan_fiber_ = nullptr;
};

}  // namespace tp::sim
