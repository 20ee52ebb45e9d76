#include "tp/schedule/hazards.h"

#include <algorithm>
#include <optional>
#include <string>

namespace tp {
namespace {

// Rows and columns that begin at (row, column) of the matrix both views are cut from.
struct Rectangle {
  int64_t row, column, rows, columns;
};

bool Meet(int64_t a, int64_t a_length, int64_t b, int64_t b_length) {
  return a < b + b_length && b < a + a_length;
}

// The same elements, by rows if these run slowest.
View RowsOutermost(const View& view) {
  return view.column_stride > view.row_stride ? view.Transposed() : view;
}

Rectangle RectangleOf(const View& view) {
  // Offsets count from the buffer's start, so the matrix is taken to begin there.
  return {view.offset / view.row_stride, view.offset % view.row_stride, view.rows, view.columns};
}

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

// before[i][j]: op j has ended when op i begins. Rows are filled in list order.
using Reach = std::vector<std::vector<bool>>;

void Inherit(Reach& before, size_t i, size_t j) {
  before[i][j] = true;
  for (size_t k = 0; k < j; ++k) {
    if (before[j][k]) before[i][k] = true;
  }
}

void InheritStreamAndWaits(const Schedule& schedule, Reach& before, size_t i) {
  for (size_t j = i; j-- > 0;) {
    if (schedule.ops[j].stream != schedule.ops[i].stream) continue;
    Inherit(before, i, j);
    break;
  }
  for (int wait : schedule.ops[i].waits) Inherit(before, i, static_cast<size_t>(wait));
}

}  // namespace

bool Overlap(const View& a, const View& b) {
  if (a.buffer != b.buffer || a.empty() || b.empty()) return false;
  if (a.offset >= b.End() || b.offset >= a.End()) return false;
  const View u = RowsOutermost(a);
  const View v = RowsOutermost(b);
  const bool same_matrix = u.row_stride == v.row_stride && u.column_stride == 1 &&
                           v.column_stride == 1 && u.row_stride > 0;
  if (!same_matrix) return true;
  const Rectangle p = RectangleOf(u);
  const Rectangle q = RectangleOf(v);
  // A rectangle that wraps around the matrix' edge is none of it.
  if (p.column + p.columns > u.row_stride || q.column + q.columns > v.row_stride) return true;
  return Meet(p.row, p.rows, q.row, q.rows) && Meet(p.column, p.columns, q.column, q.columns);
}

void OrderConflicts(Schedule& schedule) {
  const size_t n = schedule.ops.size();
  Reach before(n, std::vector<bool>(n));
  for (size_t i = 0; i < n; ++i) {
    InheritStreamAndWaits(schedule, before, i);
    for (size_t j = i; j-- > 0;) {  // the latest first: it implies the most
      if (before[i][j] || !Conflict(schedule.ops[j], schedule.ops[i])) continue;
      schedule.ops[i].waits.push_back(static_cast<int>(j));
      Inherit(before, i, j);
    }
  }
}

Status CheckHazards(const Schedule& schedule) {
  const size_t n = schedule.ops.size();
  Reach before(n, std::vector<bool>(n));
  for (size_t i = 0; i < n; ++i) {
    for (int wait : schedule.ops[i].waits) {
      if (wait < 0 || static_cast<size_t>(wait) >= i) {
        return InvalidArgument("op " + std::to_string(i) + " (" + schedule.ops[i].name +
                               ") waits for op " + std::to_string(wait) +
                               ", which is not before it");
      }
    }
    InheritStreamAndWaits(schedule, before, i);
    for (size_t j = 0; j < i; ++j) {
      if (before[i][j]) continue;
      const std::optional<View> view = Conflict(schedule.ops[j], schedule.ops[i]);
      if (!view) continue;
      const auto describe = [&](size_t k) {
        const ScheduledOp& op = schedule.ops[k];
        return "op " + std::to_string(k) + " (" + std::string(Name(op.action)) + " '" + op.name +
               "' on " + std::string(Name(op.stream)) + ")";
      };
      return InvalidArgument("race on rank " + std::to_string(schedule.rank) + ": " + describe(j) +
                             " and " + describe(i) + " touch buffer '" +
                             schedule.buffers[view->buffer].name +
                             "', one of them writing, and no wait orders them");
    }
  }
  return OkStatus();
}

}  // namespace tp
