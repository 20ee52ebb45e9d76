#include "tp/schedule/hazards.h"

#include <algorithm>
#include <array>
#include <functional>
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tp/schedule/memory.h"
#include "tp/schedule/step_order.h"

namespace tp {
namespace {

std::optional<View> Conflict(const std::vector<View>& writes, const std::vector<View>& touches) {
  for (const View& write : writes) {
    for (const View& touch : touches) {
      if (Overlap(write, touch)) return write;
    }
  }
  return std::nullopt;
}

std::optional<View> Conflict(const ScheduledOp& a, const ScheduledOp& b) {
  if (auto view = Conflict(a.writes, b.writes)) return view;
  if (auto view = Conflict(a.writes, b.reads)) return view;
  return Conflict(b.writes, a.reads);
}

// Who touched which memory, by buffer and stream, in list order.
class Accesses {
 public:
  explicit Accesses(const Schedule& schedule) : schedule_(schedule), of_(schedule.buffers.size()) {}

  void Add(int op) {
    const auto stream = static_cast<size_t>(schedule_.ops[op].stream);
    for (const View& view : schedule_.ops[op].reads) {
      Push({op, &view}, of_[view.buffer].reads[stream]);
    }
    for (const View& view : schedule_.ops[op].writes) {
      Push({op, &view}, of_[view.buffer].writes[stream]);
    }
  }

  // Calls `found(j)` for ops j of `stream` that conflict with op `op`, the latest first in each
  // list, as long as it says so and j has not ended when `op` begins.
  template <typename Found>
  void ForEachConflict(int op, size_t stream, const StepOrder& order, const Found& found) const {
    const auto search = [&](const View& view, int latest) {
      for (int at = latest; at >= 0; at = accesses_[at].previous) {
        const Access& access = accesses_[at];
        if (order.IsBefore(access.op, op)) return;
        if (Overlap(view, *access.view) && !found(access.op)) return;
      }
    };
    for (const View& view : schedule_.ops[op].writes) {
      search(view, of_[view.buffer].reads[stream]);
      search(view, of_[view.buffer].writes[stream]);
    }
    for (const View& view : schedule_.ops[op].reads) {
      search(view, of_[view.buffer].writes[stream]);
    }
  }

 private:
  struct Access {
    int op;
    const View* view;
    int previous = -1;  // of the same list
  };
  // The latest of each list; -1 where it is empty.
  struct OfBuffer {
    OfBuffer() { reads.fill(-1), writes.fill(-1); }
    std::array<int, kMostStreams> reads, writes;
  };

  void Push(Access access, int& latest) {
    access.previous = latest;
    latest = static_cast<int>(accesses_.size());
    accesses_.push_back(access);
  }

  const Schedule& schedule_;
  std::vector<Access> accesses_;  // of all lists
  std::vector<OfBuffer> of_;
};

std::string Describe(const Schedule& schedule, int op) {
  const ScheduledOp& described = schedule.ops[op];
  return "op " + std::to_string(op) + " (" + std::string(Name(described.action)) + " '" +
         described.name + "' on " + Name(described.stream) + ")";
}

std::string RaceOnRank(const Schedule& schedule) {
  return "race on rank " + std::to_string(schedule.rank) + ": ";
}

Status Race(const Schedule& schedule, int first, int second) {
  const View view = Conflict(schedule.ops[first], schedule.ops[second]).value();
  return InvalidArgument(RaceOnRank(schedule) + Describe(schedule, first) + " and " +
                         Describe(schedule, second) + " touch buffer '" +
                         schedule.buffers[view.buffer].name +
                         "', one of them writing, and no wait orders them");
}

// Whose the bytes of the arena are while the ops run in list order. A buffer takes its bytes with
// its first use, from buffers that must not be used any more and whose every use is before every
// use of it. What is bound from outside has its bytes from the beginning and keeps them.
class Sharing {
 public:
  explicit Sharing(const Schedule& schedule)
      : schedule_(schedule), arena_(ArenaOf(schedule)), states_(schedule.buffers.size()) {}

  Status Begin() {
    for (const Binding& binding : schedule_.bindings) {
      State& state = states_[binding.view.buffer];
      if (state.for_ever) continue;
      TP_RETURN_IF_ERROR(Take(binding.view.buffer));
      state.for_ever = true;
    }
    return OkStatus();
  }

  // Op `op` uses `buffer`.
  Status Use(BufferId buffer, int op, const StepOrder& order) {
    State& state = states_[buffer];
    if (state.taken_by >= 0) {
      return InvalidArgument(RaceOnRank(schedule_) + Describe(schedule_, op) + " uses buffer '" +
                             NameOf(buffer) + "', whose memory is that of '" +
                             NameOf(state.taken_by) + "' by then");
    }
    if (!state.has_memory) TP_RETURN_IF_ERROR(Take(buffer));
    for (BufferId other : state.taken_from) {
      if (Covers(order.EndedBefore(op), states_[other].ends)) continue;
      return InvalidArgument(RaceOnRank(schedule_) + Describe(schedule_, op) + " uses buffer '" +
                             NameOf(buffer) + "', which has memory of '" + NameOf(other) +
                             "', and no wait says that all who use that have ended");
    }
    Join(state.ends, order.EndedWith(op));
    return OkStatus();
  }

 private:
  struct State {
    bool has_memory = false;
    bool for_ever = false;
    BufferId taken_by = -1;
    std::vector<BufferId> taken_from;
    Ended ends = {};  // its uses so far, and what has ended before them
  };
  struct Range {
    int64_t end;
    BufferId owner;
  };

  const std::string& NameOf(BufferId buffer) const { return schedule_.buffers[buffer].name; }

  Status Take(BufferId buffer) {
    State& state = states_[buffer];
    state.has_memory = true;
    const int64_t begin = arena_.offsets[buffer];
    const int64_t end = begin + schedule_.buffers[buffer].bytes();
    if (begin == end) return OkStatus();
    auto range = ranges_.upper_bound(begin);
    if (range != ranges_.begin() && std::prev(range)->second.end > begin) --range;
    while (range != ranges_.end() && range->first < end) {
      const auto [at, old] = *range;
      if (states_[old.owner].for_ever) {
        return InvalidArgument("buffer '" + NameOf(buffer) + "' on rank " +
                               std::to_string(schedule_.rank) + " has memory of '" +
                               NameOf(old.owner) + "', which is read or written from outside");
      }
      states_[old.owner].taken_by = buffer;
      if (std::find(state.taken_from.begin(), state.taken_from.end(), old.owner) ==
          state.taken_from.end()) {
        state.taken_from.push_back(old.owner);
      }
      range = ranges_.erase(range);
      if (at < begin) ranges_[at] = {begin, old.owner};
      if (old.end > end) ranges_[end] = {old.end, old.owner};
    }
    ranges_[begin] = {end, buffer};
    return OkStatus();
  }

  const Schedule& schedule_;
  const ArenaLayout arena_;
  std::vector<State> states_;        // by buffer
  std::map<int64_t, Range> ranges_;  // by where they begin; those that have an owner
};

}  // namespace

void OrderConflicts(Schedule& schedule) {
  StepOrder order(schedule);
  Accesses accesses(schedule);
  for (int i = 0; i < static_cast<int>(schedule.ops.size()); ++i) {
    order.Add();
    // Of each stream the latest conflicting op, which implies the others; the latest of these
    // first, since it may imply some of them.
    std::vector<int> latest;
    for (size_t stream = 0; stream < kMostStreams; ++stream) {
      int last = -1;
      accesses.ForEachConflict(i, stream, order, [&](int j) {
        last = std::max(last, j);
        return false;
      });
      if (last >= 0) latest.push_back(last);
    }
    std::sort(latest.begin(), latest.end(), std::greater<>());
    for (int j : latest) {
      if (order.IsBefore(j, i)) continue;
      schedule.ops[i].waits.push_back(j);
      order.AddWait(j);
    }
    accesses.Add(i);
  }
}

Status CheckHazards(const Schedule& schedule) {
  StepOrder order(schedule);
  Accesses accesses(schedule);
  Sharing sharing(schedule);
  TP_RETURN_IF_ERROR(sharing.Begin());
  const int n = static_cast<int>(schedule.ops.size());
  for (int i = 0; i < n; ++i) {
    for (int wait : schedule.ops[i].waits) {
      if (wait >= 0 && wait < i) continue;
      return InvalidArgument("op " + std::to_string(i) + " (" + schedule.ops[i].name +
                             ") waits for op " + std::to_string(wait) + ", which is not before it");
    }
    order.Add();
    int first = n;
    for (size_t stream = 0; stream < kMostStreams; ++stream) {
      accesses.ForEachConflict(i, stream, order, [&](int j) {
        first = std::min(first, j);
        return true;
      });
    }
    if (first < n) return Race(schedule, first, i);
    for (const auto* views : {&schedule.ops[i].reads, &schedule.ops[i].writes}) {
      for (const View& view : *views) TP_RETURN_IF_ERROR(sharing.Use(view.buffer, i, order));
    }
    accesses.Add(i);
  }
  return OkStatus();
}

}  // namespace tp
