// EventQueue: what happens when, in virtual time.
//
// Events leave in the order of time, then rank, then number: what happens at one time has an order
// that does not depend on when it was put in. One thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <tuple>
#include <vector>

#include "sim/clock/virtual_clock.h"

namespace tp::sim {

struct Event {
  Picos at = 0;
  int rank = 0;
  int64_t number = 0;
  int64_t what = 0;  // the owner's own

  friend bool operator<(const Event& a, const Event& b) {
    return std::tie(a.at, a.rank, a.number) < std::tie(b.at, b.rank, b.number);
  }
};

class EventQueue {
 public:
  void Push(const Event& event) {
    heap_.push_back(event);
    std::push_heap(heap_.begin(), heap_.end(), Later);
  }
  bool empty() const { return heap_.empty(); }
  const Event& top() const { return heap_.front(); }
  void Pop() {
    std::pop_heap(heap_.begin(), heap_.end(), Later);
    heap_.pop_back();
  }

 private:
  static bool Later(const Event& a, const Event& b) { return b < a; }

  std::vector<Event> heap_;
};

}  // namespace tp::sim
