#include "backends/nccl/kernels/views.h"

#include <limits>
#include <string>
#include <vector>

namespace tp::nccl {
namespace {

// The matrix of a view of a product at the loops' first index.
View MatrixOf(const View& view) {
  View matrix{view.buffer, view.offset, {}};
  for (int d = view.rank() - 2; d < view.rank(); ++d) matrix.dims.push_back(view.dims[d]);
  return matrix;
}

// Whether rows or columns are neighbours in memory, and no two elements are one.
bool LiesAlong(const View& matrix) {
  const Dim &row = matrix.dims[0], &column = matrix.dims[1];
  if ((row.size > 1 && row.stride == 0) || (column.size > 1 && column.stride == 0)) return false;
  return row.stride == 1 || column.stride == 1 || row.size == 1 || column.size == 1;
}

}  // namespace

Status CheckMatrices(const ScheduledOp& op, std::string_view where) {
  for (const std::vector<View>* views : {&op.reads, &op.writes}) {
    for (const View& view : *views) {
      if (view.rank() <= 2) continue;
      return Unavailable("the GPU backend has no kernel '" + std::string(Name(op.action)) +
                         "' for '" + op.name + "': " + std::string(where) +
                         "it takes matrices, not " + ToString(view));
    }
  }
  return OkStatus();
}

std::optional<ProductViews> AsBatch(const ScheduledOp& op) {
  const View &a = op.reads[0], &b = op.reads[1], &c = op.writes[0];
  ProductViews views{MatrixOf(a), MatrixOf(b), MatrixOf(c), std::nullopt, {}};
  if (!LiesAlong(views.a) || !LiesAlong(views.b) || !LiesAlong(views.c)) return std::nullopt;
  const int loops = c.rank() - 2;
  const View* const added = op.reads.size() == 3 ? &op.reads[2] : nullptr;
  const bool whole = added != nullptr && added->rank() == c.rank();
  if (added != nullptr) views.added = whole ? MatrixOf(*added) : *added;
  if (whole && !LiesAlong(*views.added)) return std::nullopt;
  if (loops == 0) return views;
  const Dim& loop = c.dims[0];
  if (loops > 1 || (added != nullptr && !whole) || (loop.stride == 0 && !c.empty()) ||
      loop.size > std::numeric_limits<int>::max()) {
    return std::nullopt;
  }
  views.batch = {loop.size, a.dims[0].stride, b.dims[0].stride, loop.stride,
                 whole ? added->dims[0].stride : 0};
  if (loop.size == 0) views.c.dims[0].size = 0;  // nothing to do
  return views;
}

}  // namespace tp::nccl
