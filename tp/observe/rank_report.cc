#include "tp/observe/rank_report.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "tp/observe/op_key.h"
#include "tp/observe/step_report.h"

namespace tp {
namespace {

// Whether there was a moment, in every step, at which all ranks were in it.
bool ShareClock(const std::vector<RankRecord>& ranks) {
  for (size_t i = 0; i < ranks[0].op_steps.size(); ++i) {
    int64_t last_begin = std::numeric_limits<int64_t>::min();
    int64_t first_end = std::numeric_limits<int64_t>::max();
    for (const RankRecord& rank : ranks) {
      last_begin = std::max(last_begin, rank.op_steps[i].begin_ns);
      first_end = std::min(first_end, rank.op_steps[i].end_ns);
    }
    if (last_begin > first_end) return false;
  }
  return true;
}

int64_t FirstBegin(const std::vector<RankRecord>& ranks, size_t step) {
  int64_t first = ranks[0].op_steps[step].begin_ns;
  for (const RankRecord& rank : ranks) first = std::min(first, rank.op_steps[step].begin_ns);
  return first;
}

double MedianOf(std::vector<double> values) { return QuantilesOf(std::move(values)).median; }

// `at` is the op's index on each rank.
OpAcrossRanks Across(const std::vector<RankRecord>& ranks, const std::vector<int>& at,
                     bool one_clock) {
  OpAcrossRanks across;
  const size_t steps = ranks[0].op_steps.size();
  const double infinity = std::numeric_limits<double>::infinity();
  std::vector<double> longest(steps, 0), shortest(steps, infinity);
  std::vector<double> last(steps, 0), first(steps, infinity);
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    std::vector<double> times, dones;
    for (size_t i = 0; i < steps; ++i) {
      const StepRecord& step = ranks[rank].op_steps[i];
      const OpRecord& op = step.ops[at[rank]];
      const int64_t begin_ns = one_clock ? FirstBegin(ranks, i) : step.begin_ns;
      times.push_back(static_cast<double>(op.end_ns - op.begin_ns) / 1e3);
      dones.push_back(static_cast<double>(op.end_ns - begin_ns) / 1e3);
      longest[i] = std::max(longest[i], times.back());
      shortest[i] = std::min(shortest[i], times.back());
      last[i] = std::max(last[i], dones.back());
      first[i] = std::min(first[i], dones.back());
    }
    across.time_us.push_back(MedianOf(std::move(times)));
    across.done_us.push_back(MedianOf(std::move(dones)));
    across.bytes_sent.push_back(ranks[rank].op_steps.back().ops[at[rank]].bytes_sent);
  }
  std::vector<double> ratios, spreads;
  for (size_t i = 0; i < steps; ++i) {
    // An op too short for the clock is as long on every rank, as far as anyone can tell.
    ratios.push_back(shortest[i] > 0 ? longest[i] / shortest[i] : 1);
    spreads.push_back(last[i] - first[i]);
  }
  across.longest_over_shortest = MedianOf(std::move(ratios));
  across.done_spread_us = MedianOf(std::move(spreads));
  return across;
}

}  // namespace

RankReport MakeRankReport(const std::vector<RankRecord>& ranks) {
  RankReport report;
  if (ranks.empty() || ranks[0].op_steps.empty()) return report;
  for (const RankRecord& rank : ranks) {
    std::vector<double> steps;
    for (const StepRecord& step : rank.steps) {
      steps.push_back(static_cast<double>(step.end_ns - step.begin_ns) / 1e6);
    }
    report.step_ms.push_back(MedianOf(std::move(steps)));
  }
  report.one_clock = ShareClock(ranks);
  const Schedule& first = ranks[0].schedule;
  std::map<OpKey, std::vector<int>> places;  // on the ranks that run it
  for (const RankRecord& rank : ranks) {
    int index = 0;
    for (const OpKey& key : KeysOf(rank.schedule)) places[key].push_back(index++);
  }
  const std::vector<OpKey> keys = KeysOf(first);
  for (size_t i = 0; i < first.ops.size(); ++i) {
    const std::vector<int>& at = places[keys[i]];
    if (at.size() < ranks.size()) continue;
    OpAcrossRanks across = Across(ranks, at, report.one_clock);
    across.name = first.ops[i].name;
    across.action = first.ops[i].action;
    across.phase = first.ops[i].phase;
    report.ops.push_back(std::move(across));
  }
  return report;
}

}  // namespace tp
