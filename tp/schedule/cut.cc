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

}  // namespace tp
