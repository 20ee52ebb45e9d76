#include "backends/nccl/execution/turn_order.h"

#include <algorithm>
#include <array>
#include <limits>

#include "tp/schedule/memory.h"
#include "tp/schedule/step_order.h"

namespace tp::nccl {
namespace {

constexpr int kMostVouchers = std::numeric_limits<uint32_t>::digits;

// Bytes of the arena, from begin to before end.
struct Bytes {
  int64_t begin = 0, end = 0;
};

class Places {
 public:
  explicit Places(const Schedule& schedule)
      : schedule_(schedule), offsets_(ArenaOf(schedule).offsets) {
    for (const ScheduledOp& op : schedule.ops) {
      std::vector<Bytes>& bytes = of_op_.emplace_back();
      for (const auto* views : {&op.reads, &op.writes}) {
        for (const View& view : *views) {
          if (!view.empty()) bytes.push_back(Of(view));
        }
      }
    }
  }

  // Whether op `op` reads or writes bytes of `view`.
  bool Touches(int op, const View& view) const {
    if (view.empty()) return false;
    const Bytes of_view = Of(view);
    return std::ranges::any_of(of_op_[op], [&](const Bytes& bytes) {
      return bytes.begin < of_view.end && of_view.begin < bytes.end;
    });
  }

 private:
  Bytes Of(const View& view) const {
    const int64_t width = SizeOf(schedule_.buffers[view.buffer].dtype);
    const int64_t base = offsets_[view.buffer];
    return {base + view.offset * width, base + view.End() * width};
  }

  const Schedule& schedule_;
  const std::vector<int64_t> offsets_;
  std::vector<std::vector<Bytes>> of_op_;
};

StepOrder OrderOf(const Schedule& schedule) {
  StepOrder order(schedule);
  for (size_t i = 0; i < schedule.ops.size(); ++i) order.Add();
  return order;
}

// By turn: the ops that await it.
std::vector<std::vector<int>> WaitersOf(const Schedule& schedule,
                                        const std::vector<std::vector<int>>& awaited) {
  std::vector<std::vector<int>> waiters(schedule.ops.size());
  for (int i = 0; i < static_cast<int>(schedule.ops.size()); ++i) {
    for (int turn : awaited[i]) waiters[turn].push_back(i);
  }
  return waiters;
}

bool AnyIsBefore(const std::vector<int>& ops, int other, const StepOrder& order) {
  return std::ranges::any_of(ops, [&](int op) { return order.IsBefore(op, other); });
}

std::vector<int> CollectivesOf(const Schedule& schedule) {
  std::vector<int> collectives;
  for (int i = 0; i < static_cast<int>(schedule.ops.size()); ++i) {
    if (schedule.ops[i].action == Action::kCollective) collectives.push_back(i);
  }
  return collectives;
}

}  // namespace

std::vector<std::vector<int>> AwaitedTurns(const Schedule& schedule,
                                           const std::vector<Passing>& passing) {
  const int ops = static_cast<int>(schedule.ops.size());
  const StepOrder order = OrderOf(schedule);
  const Places places(schedule);
  std::vector<std::vector<int>> awaited(ops + 1), waiters(ops);
  // By stream that waits and stream that is waited for: the last op that is known to have ended.
  std::array<std::array<int, kMostStreams>, kMostStreams> known;
  for (auto& of_stream : known) of_stream.fill(-1);
  std::array<std::vector<int>, kMostStreams> turns;  // so far, by stream
  const auto await = [&](int op, int stream, int other, int through) {
    for (int turn : turns[other]) {
      if (turn <= known[stream][other] || turn > through) continue;
      awaited[op].push_back(turn);
      if (op < ops) waiters[turn].push_back(op);
    }
    known[stream][other] = std::max(known[stream][other], through);
  };
  for (int i = 0; i < ops; ++i) {
    const ScheduledOp& op = schedule.ops[i];
    const int stream = static_cast<int>(op.stream);
    for (int wait : op.waits) {
      const int other = static_cast<int>(schedule.ops[wait].stream);
      if (other != stream) await(i, stream, other, wait);
    }
    // What a stream's order alone says to have come may be still on its way.
    for (int turn : turns[stream]) {
      if (places.Touches(i, schedule.ops[turn].receive) && !AnyIsBefore(waiters[turn], i, order)) {
        awaited[i].push_back(turn);
        waiters[turn].push_back(i);
      }
    }
    if (passing[i].kind == Passing::kTurn) turns[stream].push_back(i);
  }
  for (int other = 0; other < kMostStreams; ++other) {
    await(ops, static_cast<int>(Stream::kCompute), other, ops);
  }
  return awaited;
}

std::vector<Vouchers> VouchersOf(const Schedule& schedule, const std::vector<Passing>& passing,
                                 const std::vector<std::vector<int>>& awaited) {
  const StepOrder order = OrderOf(schedule);
  const Places places(schedule);
  const std::vector<std::vector<int>> waiters = WaitersOf(schedule, awaited);
  const std::vector<int> collectives = CollectivesOf(schedule);
  std::vector<Vouchers> vouchers(collectives.size());
  for (int c = 0; c < static_cast<int>(collectives.size()); ++c) {
    const int turn = collectives[c];
    if (passing[turn].kind != Passing::kTurn) continue;
    const ScheduledOp& op = schedule.ops[turn];
    std::vector<int> users;  // of the room that its block needs
    for (int i = 0; i < turn; ++i) {
      if (places.Touches(i, op.receive)) users.push_back(i);
    }
    for (int back = 1; back <= std::min(c, kMostVouchers); ++back) {
      const int earlier = collectives[c - back];
      const Passing& way = passing[earlier];
      if (way.kind == Passing::kAlone || schedule.ops[earlier].stream != op.stream ||
          schedule.ops[earlier].group != op.group) {
        continue;
      }
      const bool free = std::ranges::all_of(users, [&](int user) {
        return order.IsBefore(user, earlier) &&
               (passing[user].kind != Passing::kTurn || AnyIsBefore(waiters[user], earlier, order));
      });
      if (!free) continue;
      const uint32_t bit = uint32_t{1} << (back - 1);
      if (way.kind == Passing::kTogether) {
        vouchers[c].always |= bit;
        continue;
      }
      vouchers[c].if_it_meets |= bit;
      // The way back: by it the receiver tells the sender, which has awaited that.
      const int members = static_cast<int>(op.group.size());
      if (way.turn + passing[turn].turn == members && AnyIsBefore(waiters[earlier], turn, order)) {
        vouchers[c].always |= bit;
      }
    }
  }
  return vouchers;
}

std::vector<bool> TurnsThatMeet(const Schedule& schedule, const std::vector<Passing>& passing,
                                const std::vector<Vouchers>& agreed) {
  std::vector<bool> meets(schedule.ops.size());
  const std::vector<int> collectives = CollectivesOf(schedule);
  for (int c = 0; c < static_cast<int>(collectives.size()); ++c) {
    const int turn = collectives[c];
    if (passing[turn].kind != Passing::kTurn || agreed[c].always != 0) continue;
    meets[turn] = true;
    for (int back = 1; back <= std::min(c, kMostVouchers); ++back) {
      const bool counts = (agreed[c].if_it_meets >> (back - 1) & 1) != 0;
      if (counts && meets[collectives[c - back]]) meets[turn] = false;
    }
  }
  return meets;
}

}  // namespace tp::nccl
