#include "backends/nccl/execution/norm_groups.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "backends/nccl/execution/arena_bytes.h"

namespace tp::nccl {
namespace {

constexpr Action kAdd{"add"}, kNorm{"rms_norm"}, kNormGrad{"rms_norm_grad"};
constexpr int64_t kAccess = 16;          // bytes
constexpr int64_t kMostAccesses = 1024;  // to a line: four of each thread of a block
constexpr int64_t kMostBlocks = 8;       // that a sum_rows adds up

bool IsNorm(const ScheduledOp& op) { return op.action == kNorm || op.action == kNormGrad; }

// Ops one behind the other on the compute stream, of which one is a norm or its gradient.
class Chain {
 public:
  Chain(const Schedule& schedule, const ArenaBytes& arena, std::vector<int> ops)
      : schedule_(schedule), arena_(arena), ops_(std::move(ops)) {
    x_ =
        &schedule.ops[*std::ranges::find_if(ops_, [&](int op) { return IsNorm(schedule.ops[op]); })]
             .reads[0];
  }

  const std::vector<int>& ops() const { return ops_; }
  const ScheduledOp& At(int place) const { return schedule_.ops[ops_[place]]; }
  int size() const { return static_cast<int>(ops_.size()); }

  // Whether each op but the first reads what the one before it writes, in the norm's line, and all
  // tensors lie so that a thread can do its part of a line in all ops.
  bool IsOne() const {
    if (!IsLineFit()) return false;
    for (int place = 0; place < size(); ++place) {
      if (place > 0 && HandedOn(place) < 0) return false;
      const ScheduledOp& op = At(place);
      const bool fit = op.action == Action::kSumRows ? IsSumFit(op)
                       : op.action == kAdd           ? AreWhole(op.reads) && IsWhole(op.writes[0])
                                                     : IsNormFit(op);
      if (!fit) return false;
    }
    return true;
  }

  // Whether all ops at once, thread by thread, do what they do one after the other: no thread
  // writes what another one, or it itself later on, still reads. `written` is by op.
  bool KeepsOrder(const std::vector<bool>& written) const {
    std::vector<Access> reads, writes;
    for (int place = 0; place < size(); ++place) {
      const ScheduledOp& op = At(place);
      for (int i = 0; i < std::ssize(op.reads); ++i) {
        if (i != HandedOn(place)) reads.push_back(AccessOf(op.reads[i], place));
      }
      for (const View& view : op.writes) {
        writes.push_back(AccessOf(view, place));
        writes.back().is_made = written[place] || &view != &op.writes[0];
      }
    }
    return std::ranges::all_of(writes, [&](const Access& write) {
      const bool alone =
          !write.is_made || std::ranges::count_if(writes, [&](const Access& other) {
                              return other.is_made && Touch(write.bytes, other.bytes);
                            }) == 1;
      return alone && std::ranges::all_of(reads, [&](const Access& read) {
               if (!Touch(write.bytes, read.bytes)) return true;
               if (read.place > write.place) return false;
               return !write.is_made || (write.whole && read.whole && write.bytes == read.bytes);
             });
    });
  }

 private:
  struct Access {
    Bytes bytes;
    int place = 0;
    bool whole = false;
    bool is_made = true;
  };

  // Which operand an op has from the one before it, or -1.
  int HandedOn(int place) const {
    if (place == 0) return -1;
    const View& handed = At(place - 1).writes[0];
    const auto is_handed = [&](const View& view) {
      return view.buffer == handed.buffer && view.size() == handed.size() &&
             arena_.Of(view) == arena_.Of(handed);
    };
    const ScheduledOp& op = At(place);
    if (IsNorm(op)) {
      const int operand = op.action == kNorm ? 0 : 3;
      return is_handed(op.reads[operand]) ? operand : -1;
    }
    for (int operand : {0, 1}) {
      if (is_handed(op.reads[operand])) return operand;
    }
    return -1;
  }

  DType DtypeOf(const View& view) const { return schedule_.buffers[view.buffer].dtype; }
  int64_t PerAccess() const { return kAccess / SizeOf(DtypeOf(*x_)); }
  // Begins where an access may begin, and has the type of x.
  bool Begins(const View& view) const {
    return DtypeOf(view) == DtypeOf(*x_) && arena_.Of(view).begin % kAccess == 0;
  }
  // Lies as x does.
  bool IsWhole(const View& view) const { return Begins(view) && view.dims == x_->dims; }
  bool AreWhole(const std::vector<View>& views) const {
    return std::ranges::all_of(views, [&](const View& view) { return IsWhole(view); });
  }
  Access AccessOf(const View& view, int place) const {
    return {arena_.Of(view), place, IsWhole(view)};
  }

  bool IsLineFit() const {
    const DType dtype = DtypeOf(*x_);
    if (dtype != DType::kBFloat16 && dtype != DType::kFloat16 && dtype != DType::kFloat32) {
      return false;
    }
    if (x_->rank() == 0 || x_->rank() > kMostDims || x_->empty() || !PackedOrder(*x_)) return false;
    const Dim& line = x_->dims[x_->rank() - 1];
    return line.stride == 1 && line.size % PerAccess() == 0 &&
           line.size / PerAccess() <= kMostAccesses;
  }

  bool IsSumFit(const ScheduledOp& op) const {
    const View &blocks = op.reads[0], &sum = op.writes[0];
    return blocks.rank() == 2 && blocks.rows() > 1 && blocks.rows() <= kMostBlocks &&
           blocks.columns() == x_->size() && blocks.column_stride() == 1 &&
           blocks.row_stride() % PerAccess() == 0 && Begins(blocks) && Begins(sum) &&
           sum.size() == x_->size() && IsPacked(sum, Order::Own(sum.rank()));
  }

  bool IsNormFit(const ScheduledOp& op) const {
    const View& gain = op.reads[1];
    return IsWhole(op.reads[0]) && IsWhole(op.writes[0]) && Begins(gain) &&
           gain.dims[gain.rank() - 1].stride == 1 && (op.action == kNorm || IsWhole(op.reads[3]));
  }

  const Schedule& schedule_;
  const ArenaBytes& arena_;
  const std::vector<int> ops_;
  const View* x_ = nullptr;  // of the norm: all else lies as it does
};

class NormGrouping {
 public:
  explicit NormGrouping(const Schedule& schedule)
      : schedule_(schedule),
        arena_(schedule),
        awaited_(AwaitedOps(schedule)),
        taken_(schedule.ops.size()),
        readers_(schedule.buffers.size()),
        bound_(schedule.buffers.size()) {
    for (int i = 0; i < static_cast<int>(schedule.ops.size()); ++i) {
      if (schedule.ops[i].stream == Stream::kCompute) compute_.push_back(i);
      for (const View& view : schedule.ops[i].reads) readers_[view.buffer].push_back(i);
    }
    for (const Binding& binding : schedule.bindings) bound_[binding.view.buffer] = true;
  }

  std::vector<LaunchGroup> Run() {
    if (schedule_.sum_order != SumOrder::kFast) return {};
    for (int at = 0; at < std::ssize(compute_); ++at) {
      const Action action = schedule_.ops[compute_[at]].action;
      if (action == kNorm && Is(kAdd, at - 1)) {
        if (!Take(GroupKind::kNorm, at - 2, at)) Take(GroupKind::kNorm, at - 1, at);
      } else if (action == kNormGrad && !Take(GroupKind::kNormGrad, at - 1, at + 1) &&
                 !Take(GroupKind::kNormGrad, at, at + 1)) {
        Take(GroupKind::kNormGrad, at - 1, at);
      }
    }
    return std::move(groups_);
  }

 private:
  bool Is(Action action, int at) const {
    return at >= 0 && at < std::ssize(compute_) && schedule_.ops[compute_[at]].action == action;
  }

  // Makes a group of the compute stream's ops number `first` to `last`, if they can be one.
  bool Take(GroupKind kind, int first, int last) {
    if (first < 0 || last >= std::ssize(compute_)) return false;
    std::vector<int> ops(compute_.begin() + first, compute_.begin() + last + 1);
    if (!AreInOrder(ops) || std::ranges::any_of(ops, [&](int op) { return taken_[op]; }) ||
        std::any_of(ops.begin(), ops.end() - 1, [&](int op) { return awaited_[op]; })) {
      return false;
    }
    const Chain chain(schedule_, arena_, std::move(ops));
    if (!chain.IsOne()) return false;
    std::vector<bool> written;
    for (int place = 0; place < chain.size(); ++place) written.push_back(IsRead(chain, place));
    if (!chain.KeepsOrder(written)) return false;
    for (int op : chain.ops()) taken_[op] = true;
    groups_.push_back({kind, chain.ops(), std::move(written)});
    return true;
  }

  // [sum_rows], then add, norm or gradient, [add].
  bool AreInOrder(const std::vector<int>& ops) const {
    std::vector<Action> actions;
    for (int op : ops) actions.push_back(schedule_.ops[op].action);
    if (actions.front() == Action::kSumRows) actions.erase(actions.begin());
    if (actions.front() == kNormGrad) return actions.size() == 1 || actions.back() == kAdd;
    return actions.size() == 2 && actions.front() == kAdd && actions.back() == kNorm;
  }

  // Whether anybody but the next op of the chain reads what one writes first. An op before it in
  // the list reads what was there before.
  bool IsRead(const Chain& chain, int place) const {
    const View& made = chain.At(place).writes[0];
    if (place + 1 == chain.size() || bound_[made.buffer]) return true;
    const std::vector<int>& readers = readers_[made.buffer];
    return std::any_of(
        std::ranges::upper_bound(readers, chain.ops()[place]), readers.end(), [&](int reader) {
          return reader != chain.ops()[place + 1] &&
                 std::ranges::any_of(schedule_.ops[reader].reads, [&](const View& read) {
                   return read.buffer == made.buffer && Touch(arena_.Of(read), arena_.Of(made));
                 });
        });
  }

  const Schedule& schedule_;
  const ArenaBytes arena_;
  const std::vector<bool> awaited_;
  std::vector<int> compute_;               // its stream's ops
  std::vector<bool> taken_;                // by op
  std::vector<std::vector<int>> readers_;  // by buffer: ops
  std::vector<bool> bound_;                // by buffer: read or written from outside
  std::vector<LaunchGroup> groups_;
};

}  // namespace

std::vector<LaunchGroup> GroupNorms(const Schedule& schedule) {
  return NormGrouping(schedule).Run();
}

}  // namespace tp::nccl
