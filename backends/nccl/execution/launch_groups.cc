#include "backends/nccl/execution/launch_groups.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

#include "tp/schedule/memory.h"

namespace tp::nccl {
namespace {

constexpr Action kAdd{"add"}, kSquareSum{"square_sum"}, kAdamw{"adamw"}, kMaster{"adamw_master"};

// Bytes of the arena, from begin to before end.
struct Bytes {
  int64_t begin = 0, end = 0;
};

bool Touch(const std::vector<Bytes>& a, const std::vector<Bytes>& b) {
  return std::ranges::any_of(a, [&](const Bytes& x) {
    return std::ranges::any_of(b,
                               [&](const Bytes& y) { return x.begin < y.end && y.begin < x.end; });
  });
}

void Append(std::vector<Bytes>& all, const std::vector<Bytes>& more) {
  all.insert(all.end(), more.begin(), more.end());
}

class Grouping {
 public:
  explicit Grouping(const Schedule& schedule)
      : schedule_(schedule), offsets_(ArenaOf(schedule).offsets), awaited_(schedule.ops.size()) {
    for (const ScheduledOp& op : schedule.ops) {
      for (int wait : op.waits) awaited_[wait] = true;
    }
  }

  std::vector<LaunchGroup> Run() {
    for (int i = 0; i < static_cast<int>(schedule_.ops.size()); ++i) {
      if (schedule_.ops[i].stream != Stream::kCompute) continue;
      const std::optional<GroupKind> kind = KindOf(schedule_.ops[i]);
      if (!kind || !Joins(*kind, i)) Close();
      if (kind) Add(*kind, i);
      if (awaited_[i]) Close();
    }
    Close();
    return std::move(groups_);
  }

 private:
  DType DtypeOf(const View& view) const { return schedule_.buffers[view.buffer].dtype; }

  std::optional<GroupKind> KindOf(const ScheduledOp& op) const {
    if (op.action == kAdamw || op.action == kMaster) return GroupKind::kUpdates;
    if (op.action == kSquareSum) return GroupKind::kSquares;
    const bool scalar = op.action == kAdd && op.writes[0].rank() == 0;
    return scalar ? std::optional(GroupKind::kSquares) : std::nullopt;
  }

  std::vector<Bytes> BytesOf(const std::vector<View>& views) const {
    std::vector<Bytes> bytes;
    for (const View& view : views) {
      if (view.empty()) continue;
      const int64_t width = SizeOf(DtypeOf(view)), base = offsets_[view.buffer];
      bytes.push_back({base + view.offset * width, base + view.End() * width});
    }
    return bytes;
  }

  // Whether op `i` may be launched with the group that is open.
  bool Joins(GroupKind kind, int i) const {
    if (group_.ops.empty() || group_.kind != kind) return false;
    const ScheduledOp &op = schedule_.ops[i], &first = schedule_.ops[group_.ops[0]];
    if (DtypeOf(op.writes[0]) != DtypeOf(first.writes[0])) return false;
    const std::vector<Bytes> reads = BytesOf(op.reads), writes = BytesOf(op.writes);
    if (kind == GroupKind::kUpdates) {
      return op.action == first.action && !Touch(writes, reads_) && !Touch(writes, writes_) &&
             !Touch(reads, writes_);
    }
    return !Touch(writes, squared_) && (op.action == kAdd || !Touch(reads, writes_));
  }

  void Add(GroupKind kind, int i) {
    const ScheduledOp& op = schedule_.ops[i];
    group_.kind = kind;
    group_.ops.push_back(i);
    Append(reads_, BytesOf(op.reads));
    Append(writes_, BytesOf(op.writes));
    if (op.action == kSquareSum) Append(squared_, BytesOf(op.reads));
  }

  void Close() {
    if (group_.ops.size() > 1) groups_.push_back(std::move(group_));
    group_ = {};
    reads_.clear();
    writes_.clear();
    squared_.clear();
  }

  const Schedule& schedule_;
  const std::vector<int64_t> offsets_;
  std::vector<bool> awaited_;                    // by op: whether another stream waits for its end
  LaunchGroup group_;                            // the one that is open
  std::vector<Bytes> reads_, writes_, squared_;  // of it; what square_sum reads
  std::vector<LaunchGroup> groups_;
};

}  // namespace

std::vector<LaunchGroup> GroupLaunches(const Schedule& schedule) {
  return Grouping(schedule).Run();
}

}  // namespace tp::nccl
