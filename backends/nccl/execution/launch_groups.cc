#include "backends/nccl/execution/launch_groups.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "backends/nccl/execution/arena_bytes.h"
#include "backends/nccl/execution/norm_groups.h"

namespace tp::nccl {
namespace {

constexpr Action kAdd{"add"}, kSquareSum{"square_sum"}, kAdamw{"adamw"}, kMaster{"adamw_master"};

void Append(std::vector<Bytes>& all, const std::vector<Bytes>& more) {
  all.insert(all.end(), more.begin(), more.end());
}

class Grouping {
 public:
  explicit Grouping(const Schedule& schedule)
      : schedule_(schedule), arena_(schedule), awaited_(AwaitedOps(schedule)) {}

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

  // Whether op `i` may be launched with the group that is open.
  bool Joins(GroupKind kind, int i) const {
    if (group_.ops.empty() || group_.kind != kind) return false;
    const ScheduledOp &op = schedule_.ops[i], &first = schedule_.ops[group_.ops[0]];
    if (DtypeOf(op.writes[0]) != DtypeOf(first.writes[0])) return false;
    const std::vector<Bytes> reads = arena_.Of(op.reads), writes = arena_.Of(op.writes);
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
    Append(reads_, arena_.Of(op.reads));
    Append(writes_, arena_.Of(op.writes));
    if (op.action == kSquareSum) Append(squared_, arena_.Of(op.reads));
  }

  void Close() {
    if (group_.ops.size() > 1) groups_.push_back(std::move(group_));
    group_ = {};
    reads_.clear();
    writes_.clear();
    squared_.clear();
  }

  const Schedule& schedule_;
  const ArenaBytes arena_;
  const std::vector<bool> awaited_;
  LaunchGroup group_;                            // the one that is open
  std::vector<Bytes> reads_, writes_, squared_;  // of it; what square_sum reads
  std::vector<LaunchGroup> groups_;
};

}  // namespace

std::vector<LaunchGroup> GroupLaunches(const Schedule& schedule) {
  std::vector<LaunchGroup> groups = Grouping(schedule).Run();
  std::ranges::move(GroupNorms(schedule), std::back_inserter(groups));
  std::ranges::sort(groups, {}, [](const LaunchGroup& group) { return group.ops.back(); });
  return groups;
}

}  // namespace tp::nccl
