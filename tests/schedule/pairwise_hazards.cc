#include "tests/schedule/pairwise_hazards.h"

#include <optional>
#include <string>
#include <vector>

#include "tp/schedule/hazards.h"

namespace tp {
namespace {

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

void OrderConflictsPairwise(Schedule& schedule) {
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

Status CheckHazardsPairwise(const Schedule& schedule) {
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
