#include "tp/schedule/cut.h"

#include <algorithm>

namespace tp {

bool Touches(const ScheduledOp& op, const View& view) {
  const auto overlaps = [&](const View& other) { return Overlap(view, other); };
  return std::any_of(op.reads.begin(), op.reads.end(), overlaps) ||
         std::any_of(op.writes.begin(), op.writes.end(), overlaps);
}

ScheduledOp RowsOfProduct(const ScheduledOp& product, int64_t begin, int64_t length) {
  ScheduledOp rows = product;
  rows.reads[0] = product.reads[0].Sub(0, begin, length);
  // What is added is a matrix, too, or a bias, the same for each row.
  if (rows.reads.size() == 3 && rows.reads[2].rank() == 2) {
    rows.reads[2] = product.reads[2].Sub(0, begin, length);
  }
  rows.writes[0] = product.writes[0].Sub(0, begin, length);
  return rows;
}

View Part(const View& packed, int64_t begin, int64_t length) {
  return View{packed.buffer, packed.offset + begin, {{length, 1}}};
}

Turns::Turns(const ScheduledOp& collective, int rank) : collective_(collective) {
  const std::vector<int>& group = collective.group;
  me_ = static_cast<int>(std::find(group.begin(), group.end(), rank) - group.begin());
}

ScheduledOp Turns::Exchange(int turn, const std::vector<int64_t>& sizes, const View& send,
                            const View& receive) const {
  ScheduledOp exchange = collective_;
  exchange.call.kind = CollectiveKind::kAllToAll;
  exchange.call.counts.assign(sizes.size() * sizes.size(), 0);
  for (int from = 0; from < members(); ++from) {
    exchange.call.counts[from * members() + (from + turn) % members()] = sizes[from];
  }
  exchange.send = send;
  exchange.receive = receive;
  exchange.reads = {send};
  exchange.writes = {receive};
  return exchange;
}

}  // namespace tp
