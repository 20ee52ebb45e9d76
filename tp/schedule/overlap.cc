#include "tp/schedule/overlap.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <utility>

#include "tp/core/shard_geometry.h"
#include "tp/schedule/cut.h"

namespace tp {
namespace {

constexpr int64_t kMostRowsOfBlock = 64;

// Rows in parts that begin at multiples of a block. A matrix product that begins anywhere else may
// read its operands from where the hardware's wide accesses do not begin, many times slower. A
// block is a power of two, at most kMostRowsOfBlock, and half a part at most.
class RowParts {
 public:
  RowParts(int64_t rows, int parts)
      : rows_(rows), block_(BlockFor(rows / parts)), blocks_((rows + block_ - 1) / block_, parts) {}

  int parts() const { return blocks_.parts(); }
  int64_t Offset(int part) const { return std::min(rows_, blocks_.Offset(part) * block_); }
  int64_t Length(int part) const { return Offset(part + 1) - Offset(part); }

 private:
  static int64_t BlockFor(int64_t rows_of_part) {
    const auto half = static_cast<uint64_t>(std::max<int64_t>(rows_of_part / 2, 1));
    return std::min(kMostRowsOfBlock, static_cast<int64_t>(std::bit_floor(half)));
  }

  int64_t rows_, block_;
  ShardGeometry blocks_;
};

View RowsOf(const View& view, const RowParts& parts, int part) {
  return view.Sub(0, parts.Offset(part), parts.Length(part));
}

class SumCutter {
 public:
  SumCutter(Schedule& schedule, int64_t part_bytes)
      : schedule_(schedule), part_bytes_(part_bytes) {}

  void Run() {
    for (size_t i = 0; i < schedule_.ops.size(); ++i) FindSum(i);
    ops_.reserve(schedule_.ops.size());
    for (size_t i = 0; i < schedule_.ops.size(); ++i) {
      ScheduledOp& op = schedule_.ops[i];
      if (const auto sum = sum_of_.find(i); sum != sum_of_.end()) {
        CutProduct(op, schedule_.ops[sum->second]);
      } else if (const View* sum = CutSumReadBy(op)) {
        // A sum that is read by an op of the same rows; `i` moves on where a product goes along.
        if (CutReaders(i, *sum)) ++i;
      } else if (!cut_sums_.contains(i)) {
        ops_.push_back(std::move(op));
      }
    }
    std::ranges::move(last_, std::back_inserter(ops_));
    schedule_.ops = std::move(ops_);
  }

 private:
  // Whether op `i` is a sum to be cut, and of which product.
  void FindSum(size_t i) {
    const ScheduledOp& sum = schedule_.ops[i];
    if (sum.action != Action::kCollective || sum.call.kind != CollectiveKind::kAllReduce ||
        !(sum.send == sum.receive) || sum.send.rank() != 2 || !IsPacked(sum.send, Order::Own(2)) ||
        PartsOf(sum.send) < 2) {
      return;
    }
    for (size_t j = i; j-- > 0;) {
      const ScheduledOp& op = schedule_.ops[j];
      if (!Touches(op, sum.send)) continue;
      if (op.of_matrices && op.writes[0] == sum.send) {
        sum_of_[j] = i;
        cut_sums_.insert(i);
      }
      return;
    }
  }

  int64_t BytesOf(const View& view) const {
    return view.size() * SizeOf(schedule_.buffers[view.buffer].dtype);
  }

  int PartsOf(const View& sum) const {
    return static_cast<int>(
        std::min({BytesOf(sum) / part_bytes_, sum.rows(), int64_t{kMostParts}}));
  }

  void CutProduct(const ScheduledOp& product, const ScheduledOp& sum) {
    const RowParts parts(sum.send.rows(), PartsOf(sum.send));
    for (int part = 0; part < parts.parts(); ++part) {
      ops_.push_back(RowsOfProduct(product, parts.Offset(part), parts.Length(part)));
      ScheduledOp one = sum;
      one.send = one.receive = RowsOf(sum.send, parts, part);
      one.reads = {one.send};
      one.writes = {one.receive};
      one.call.counts = {one.send.size()};
      ops_.push_back(std::move(one));
    }
    cut_[sum.send.buffer].push_back(sum.send);
  }

  // The cut sum that `op` reads whole, if it is one that works row by row.
  const View* CutSumReadBy(const ScheduledOp& op) const {
    if (!op.by_rows) return nullptr;
    for (const View& operand : op.reads) {
      const auto cut = cut_.find(operand.buffer);
      if (cut == cut_.end()) continue;
      const auto found = std::find(cut->second.begin(), cut->second.end(), operand);
      if (found != cut->second.end()) return &*found;
    }
    return nullptr;
  }

  // Returns whether the op behind op `i`, a product, was cut too.
  bool CutReaders(size_t i, const View& sum) {
    const ScheduledOp& op = schedule_.ops[i];
    const View& result = op.writes.back();
    const bool has_product = i + 1 < schedule_.ops.size() && sum_of_.count(i + 1) == 0 &&
                             schedule_.ops[i + 1].of_matrices &&
                             schedule_.ops[i + 1].reads[0] == result &&
                             BytesOf(schedule_.ops[i + 1].writes[0]) / PartsOf(sum) >= part_bytes_;
    const RowParts parts(sum.rows(), PartsOf(sum));
    const std::vector<View> losses = LossesOf(op, parts.parts());
    const size_t behind = i + (has_product ? 2 : 1);
    for (int part = 0; part < parts.parts(); ++part) {
      ScheduledOp one = op;
      for (View& view : one.reads) {
        if (view.rank() >= 2) view = RowsOf(view, parts, part);  // but for a bias
      }
      one.writes.back() = RowsOf(result, parts, part);
      if (!one.letters.empty()) {
        one.letters[0].begin += parts.Offset(part);
        one.letters[0].length = parts.Length(part);
      }
      if (!losses.empty()) one.writes[0] = losses[part];
      ops_.push_back(std::move(one));
      if (has_product) {
        ops_.push_back(RowsOfProduct(schedule_.ops[i + 1], parts.Offset(part), parts.Length(part)));
      }
    }
    if (!losses.empty()) SumLosses(op, losses, behind);
    return has_product;
  }

  // Where the loss of each part goes, if `op` has one.
  std::vector<View> LossesOf(const ScheduledOp& op, int parts) {
    if (op.writes.size() < 2) return {};
    const View& loss = op.writes[0];
    const Buffer& buffer = schedule_.buffers[loss.buffer];
    const View all = MatrixView(static_cast<BufferId>(schedule_.buffers.size()), 0, parts, 1, 1, 1);
    schedule_.buffers.push_back({buffer.name + ".parts", buffer.dtype, parts});
    std::vector<View> losses;
    for (int part = 0; part < parts; ++part) losses.push_back(all.Sub(0, part, 1));
    return losses;
  }

  // At the schedule's end, unless an op from `behind` on needs the loss.
  void SumLosses(const ScheduledOp& op, const std::vector<View>& losses, size_t behind) {
    ScheduledOp sum = op;
    sum.action = Action::kSumRows;
    sum.reads = {losses[0]};
    sum.reads[0].dims[0].size = static_cast<int64_t>(losses.size());
    sum.writes = {op.writes[0]};
    const bool needed = std::any_of(
        schedule_.ops.begin() + static_cast<std::ptrdiff_t>(behind), schedule_.ops.end(),
        [&](const ScheduledOp& later) { return Touches(later, op.writes[0]); });
    (needed ? ops_ : last_).push_back(std::move(sum));
  }

  Schedule& schedule_;
  const int64_t part_bytes_;
  std::map<size_t, size_t> sum_of_;            // product's op -> its sum's
  std::set<size_t> cut_sums_;                  // the ops that are the sums of these
  std::map<BufferId, std::vector<View>> cut_;  // sums that were cut
  std::vector<ScheduledOp> ops_;
  std::vector<ScheduledOp> last_;  // what goes behind all others
};

// Rows [begin, end).
struct RowRange {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t length() const { return end - begin; }
};

class GatherCutter {
 public:
  GatherCutter(Schedule& schedule, int64_t part_bytes)
      : schedule_(schedule), part_bytes_(std::max<int64_t>(part_bytes, 1)) {}

  void Run() {
    std::vector<ScheduledOp> ops = std::move(schedule_.ops);
    schedule_.ops.clear();
    schedule_.ops.reserve(ops.size());
    for (size_t i = 0; i < ops.size(); ++i) {
      if (i + 1 == ops.size() || !IsForProduct(ops[i], ops[i + 1])) {
        schedule_.ops.push_back(std::move(ops[i]));
        continue;
      }
      const Turns turns(ops[i], schedule_.rank);
      for (int turn = 1; turn < turns.members(); ++turn) PushTurn(ops[i], turns, turn);
      const std::vector<ScheduledOp> products = ProductsToCut(ops, i, turns.me());
      CutProducts(products, ops[i], turns);
      i += products.size();
    }
  }

 private:
  // Whether `product` reads what `gather` makes whole in its place, of which enough comes from
  // others. What this depends on is alike on all ranks.
  bool IsForProduct(const ScheduledOp& gather, const ScheduledOp& product) const {
    return gather.action == Action::kCollective && gather.call.kind == CollectiveKind::kAllGather &&
           gather.send.buffer == gather.receive.buffer && product.action == Action::kGemm &&
           product.reads[0].buffer == gather.receive.buffer &&
           BytesFromOthers(gather) >= part_bytes_;
  }

  // That come to the member with the largest block.
  static int64_t BytesFromOthers(const ScheduledOp& gather) {
    const std::vector<int64_t>& counts = gather.call.counts;
    return (gather.receive.size() - *std::max_element(counts.begin(), counts.end())) *
           SizeOf(gather.call.dtype);
  }

  void PushTurn(const ScheduledOp& gather, const Turns& turns, int turn) {
    const std::vector<int64_t>& counts = gather.call.counts;
    const int from = turns.From(turn);
    const int64_t begin = std::accumulate(counts.begin(), counts.begin() + from, int64_t{0});
    schedule_.ops.push_back(
        turns.Exchange(turn, counts, gather.send, Part(gather.receive, begin, counts[from])));
  }

  // The rows of the whole that are a member's block, where `product` reads it as the rows of its
  // first factor and blocks end where rows do.
  static std::optional<RowRange> RowsOfBlock(const ScheduledOp& product, const ScheduledOp& gather,
                                             int member) {
    if (product.action != Action::kGemm || product.writes[0].rank() != 2) return std::nullopt;
    const View& a = product.reads[0];
    const View& whole = gather.receive;
    if (a.buffer != whole.buffer || a.offset != whole.offset || a.size() != whole.size() ||
        !IsPacked(a, Order::Own(2))) {
      return std::nullopt;
    }
    const std::vector<int64_t>& counts = gather.call.counts;
    const int64_t columns = a.dims[1].size;
    if (std::any_of(counts.begin(), counts.end(), [&](int64_t n) { return n % columns != 0; })) {
      return std::nullopt;
    }
    const int64_t begin =
        std::accumulate(counts.begin(), counts.begin() + member, int64_t{0}) / columns;
    return RowRange{begin, begin + counts[member] / columns};
  }

  static int64_t WorkOf(const ScheduledOp& product, const RowRange& rows) {
    return 2 * rows.length() * product.reads[1].size();
  }

  // Those right behind `gather`, none of which reads what another writes.
  static std::vector<ScheduledOp> ProductsToCut(const std::vector<ScheduledOp>& ops, size_t gather,
                                                int me) {
    std::vector<ScheduledOp> products;
    int64_t work = 0;
    for (size_t i = gather + 1; i < ops.size() && work < WorkMeanwhile(ops[gather]); ++i) {
      const std::optional<RowRange> own = RowsOfBlock(ops[i], ops[gather], me);
      const auto touches = [&](const ScheduledOp& earlier) {
        return Touches(ops[i], earlier.writes[0]);
      };
      if (!own || std::any_of(products.begin(), products.end(), touches)) break;
      work += WorkOf(ops[i], *own);
      products.push_back(ops[i]);
    }
    return products;
  }

  // That a GPU does until all has come.
  static int64_t WorkMeanwhile(const ScheduledOp& gather) {
    return BytesFromOthers(gather) * kWorkPerByte;
  }

  // This rank's rows of all `products`, then each block's as it comes; once the last one must have
  // come, all that are left at once.
  void CutProducts(const std::vector<ScheduledOp>& products, const ScheduledOp& gather,
                   const Turns& turns) {
    int64_t work = 0;
    int turn = 0;
    for (; turn < turns.members() && (turn == 0 || work < WorkMeanwhile(gather)); ++turn) {
      for (const ScheduledOp& product : products) {
        const RowRange rows = *RowsOfBlock(product, gather, turns.From(turn));
        work += WorkOf(product, rows);
        Add(product, rows);
      }
    }
    if (turn == turns.members()) return;
    for (const ScheduledOp& product : products) AddFrom(product, gather, turns, turn);
  }

  // The blocks of this turn and the later ones, which lie side by side but for the whole's end.
  void AddFrom(const ScheduledOp& product, const ScheduledOp& gather, const Turns& turns,
               int turn) {
    const int64_t first = RowsOfBlock(product, gather, turns.To(1))->begin;
    const int64_t end = RowsOfBlock(product, gather, turns.From(turn))->end;
    if (turns.To(1) <= turns.From(turn)) {
      Add(product, {first, end});
    } else {
      Add(product, {0, end});
      Add(product, {first, product.writes[0].rows()});
    }
  }

  void Add(const ScheduledOp& product, const RowRange& rows) {
    if (rows.length() == 0) return;
    schedule_.ops.push_back(RowsOfProduct(product, rows.begin, rows.length()));
  }

  Schedule& schedule_;
  const int64_t part_bytes_;
};

}  // namespace

void CutGathers(Schedule& schedule, int64_t part_bytes) {
  GatherCutter(schedule, part_bytes).Run();
}

void CutSums(Schedule& schedule, int64_t part_bytes) { SumCutter(schedule, part_bytes).Run(); }

}  // namespace tp
