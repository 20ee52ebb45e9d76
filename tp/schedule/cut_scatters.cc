#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "tp/schedule/cut.h"
#include "tp/schedule/overlap.h"

namespace tp {
namespace {

class ScatterCutter {
 public:
  ScatterCutter(Schedule& schedule, int64_t part_bytes)
      : schedule_(schedule), part_bytes_(std::max<int64_t>(part_bytes, 1)) {}

  void Run() {
    std::vector<ScheduledOp> ops = std::move(schedule_.ops);
    schedule_.ops.clear();
    schedule_.ops.reserve(ops.size());
    for (size_t i = 0; i < ops.size(); ++i) {
      if (i + 1 < ops.size() && IsProductOf(ops[i], ops[i + 1])) {
        Cut(ops[i], ops[i + 1]);
        ++i;
      } else {
        Push(std::move(ops[i]));
      }
    }
    for (ScheduledOp& sum : sums_) schedule_.ops.push_back(std::move(sum));
  }

 private:
  // Whether `product` makes what `scatter` sums in its place. What this depends on is alike on all
  // ranks: how a rank's product lies is not.
  bool IsProductOf(const ScheduledOp& product, const ScheduledOp& scatter) const {
    if (product.action != Action::kGemm || scatter.action != Action::kCollective ||
        scatter.call.kind != CollectiveKind::kReduceScatter ||
        scatter.call.reduction != Reduction::kSum ||
        scatter.receive.buffer != scatter.send.buffer) {
      return false;
    }
    const View& made = product.writes[0];
    if (made.buffer != scatter.send.buffer || made.size() != scatter.send.size()) return false;
    const std::vector<int64_t>& counts = scatter.call.counts;
    const int64_t others = scatter.send.size() - *std::max_element(counts.begin(), counts.end());
    return others * SizeOf(scatter.call.dtype) >= part_bytes_;
  }

  // The rows of the others' blocks are made first, and each block is sent while the next one is
  // made, this rank's own at last; then what has come is added to these.
  void Cut(const ScheduledOp& product, const ScheduledOp& scatter) {
    const std::vector<int64_t>& counts = scatter.call.counts;
    const Turns turns(scatter, schedule_.rank);
    const int64_t own = counts[turns.me()];
    const View blocks = Allocate(scatter, ".blocks", turns.members() * own);
    const View own_block = Part(blocks, 0, own);
    const auto begin = [&](int member) {
      return std::accumulate(counts.begin(), counts.begin() + member, int64_t{0});
    };
    const bool by_rows = IsCutByRows(product, counts);
    if (!by_rows) Push(product);
    for (int turn = 1; turn < turns.members(); ++turn) {
      const int to = turns.To(turn), from = turns.From(turn);
      const View send = Part(scatter.send, begin(to), counts[to]);
      if (by_rows) PushRows(product, begin(to), send);
      const int place = from < turns.me() ? from + 1 : from;  // behind this rank's own
      std::vector<int64_t> sizes;
      for (int member = 0; member < turns.members(); ++member) {
        sizes.push_back(counts[(member + turn) % turns.members()]);
      }
      Push(turns.Exchange(turn, sizes, send, Part(blocks, place * own, own)));
    }
    if (by_rows) {
      PushRows(product, begin(turns.me()), own_block);
    } else if (own > 0) {
      Push(OpFor(product, Action::kCopy, Part(scatter.send, begin(turns.me()), own), own_block));
    }
    if (own > 0) AwaitSum(scatter, MatrixView(blocks.buffer, 0, turns.members(), own, own, 1));
  }

  // Blocks begin and end where rows of the product do.
  static bool IsCutByRows(const ScheduledOp& product, const std::vector<int64_t>& counts) {
    const View& made = product.writes[0];
    return made.rank() == 2 && !made.empty() && IsPacked(made, Order::Own(2)) &&
           std::ranges::all_of(counts, [&](int64_t n) { return n % made.columns() == 0; });
  }

  View Allocate(const ScheduledOp& scatter, const char* suffix, int64_t elements) {
    const auto buffer = static_cast<BufferId>(schedule_.buffers.size());
    schedule_.buffers.push_back({scatter.name + suffix, scatter.call.dtype, elements});
    return View{buffer, 0, {{elements, 1}}};
  }

  // As many elements of the product, from `begin` on, as `to` has room for.
  void PushRows(const ScheduledOp& product, int64_t begin, const View& to) {
    if (to.empty()) return;
    const int64_t columns = product.writes[0].columns();
    ScheduledOp rows = RowsOfProduct(product, begin / columns, to.size() / columns);
    rows.writes[0].buffer = to.buffer;
    rows.writes[0].offset = to.offset;
    Push(std::move(rows));
  }

  // What is done for the value of `op` besides.
  static ScheduledOp OpFor(const ScheduledOp& op, Action action, const View& from, const View& to) {
    ScheduledOp one;
    one.action = action;
    one.name = op.name;
    one.value = op.value;
    one.phase = op.phase;
    one.reads = {from};
    one.writes = {to};
    return one;
  }

  void AwaitSum(const ScheduledOp& scatter, const View& blocks) {
    sums_.push_back(
        OpFor(scatter, Action::kSumRows, blocks, Part(scatter.receive, 0, scatter.receive.size())));
  }

  // Behind the sums that it needs: one that is not needed yet would hold up what could run while
  // its blocks come.
  void Push(ScheduledOp op) {
    const auto needed = std::stable_partition(
        sums_.begin(), sums_.end(), [&](const auto& sum) { return !Touches(op, sum.writes[0]); });
    schedule_.ops.insert(schedule_.ops.end(), std::make_move_iterator(needed),
                         std::make_move_iterator(sums_.end()));
    sums_.erase(needed, sums_.end());
    schedule_.ops.push_back(std::move(op));
  }

  Schedule& schedule_;
  const int64_t part_bytes_;
  std::vector<ScheduledOp> sums_;  // that no op needed so far
};

}  // namespace

void CutScatters(Schedule& schedule, int64_t part_bytes) {
  ScatterCutter(schedule, part_bytes).Run();
}

}  // namespace tp
