// What launch groups ask of a Schedule: which bytes of the arena its ops touch, and for which ops
// other streams wait.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "tp/schedule/memory.h"
#include "tp/schedule/schedule.h"

namespace tp::nccl {

// Bytes of the arena, from begin to before end.
struct Bytes {
  int64_t begin = 0, end = 0;

  bool operator==(const Bytes&) const = default;
};

inline bool Touch(const Bytes& a, const Bytes& b) { return a.begin < b.end && b.begin < a.end; }
inline bool Touch(const std::vector<Bytes>& a, const std::vector<Bytes>& b) {
  return std::ranges::any_of(a, [&](const Bytes& x) {
    return std::ranges::any_of(b, [&](const Bytes& y) { return Touch(x, y); });
  });
}

class ArenaBytes {
 public:
  // The schedule outlives it.
  explicit ArenaBytes(const Schedule& schedule)
      : schedule_(schedule), offsets_(ArenaOf(schedule).offsets) {}

  // From a view's first to its last element.
  Bytes Of(const View& view) const {
    const int64_t width = SizeOf(schedule_.buffers[view.buffer].dtype);
    const int64_t base = offsets_[view.buffer];
    return {base + view.offset * width, base + view.End() * width};
  }
  // Of those that have elements.
  std::vector<Bytes> Of(std::span<const View> views) const {
    std::vector<Bytes> bytes;
    for (const View& view : views) {
      if (!view.empty()) bytes.push_back(Of(view));
    }
    return bytes;
  }

 private:
  const Schedule& schedule_;
  const std::vector<int64_t> offsets_;
};

// By op: whether another stream waits for its end.
inline std::vector<bool> AwaitedOps(const Schedule& schedule) {
  std::vector<bool> awaited(schedule.ops.size());
  for (const ScheduledOp& op : schedule.ops) {
    for (int wait : op.waits) awaited[wait] = true;
  }
  return awaited;
}

}  // namespace tp::nccl
