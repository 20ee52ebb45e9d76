// RankReport: how the ranks of a run differ from each other.
//
// All times are measured. When an op was done is counted from the begin of its step, which follows
// a barrier: from the first rank's begin where the ranks share a clock (threads, or processes of
// one machine), and from the rank's own where they do not. They share one if, by it, the ranks'
// steps overlap, every time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tp/program/program.h"
#include "tp/runtime/rank_record.h"
#include "tp/schedule/schedule.h"

namespace tp {

// One op on all ranks; vectors are by rank.
struct OpAcrossRanks {
  std::string name;
  Action action = Action::kCopy;
  Phase phase = Phase::kForward;
  std::vector<double> time_us;      // median over the steps
  std::vector<double> done_us;      // median over the steps: the op's end, since the step's begin
  std::vector<int64_t> bytes_sent;  // in the last step
  // Medians over the steps, of what differs within one step.
  double longest_over_shortest = 1;
  double done_spread_us = 0;  // the last rank's done, less the first's
};

struct RankReport {
  std::vector<double> step_ms;     // by rank: median over the timed steps
  bool one_clock = false;          // shared by all ranks
  std::vector<OpAcrossRanks> ops;  // that every rank runs, in the order of rank 0
};

// `result` is rank 0's. Empty where the result is, or holds no timed op.
RankReport MakeRankReport(const std::vector<RankRecord>& ranks);

}  // namespace tp
