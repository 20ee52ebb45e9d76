// The last line of a run: what it proves, and what not.
#pragma once

#include <string>

#include "tools/bench/options.h"
#include "tools/bench/run.h"
#include "tp/verify/report.h"

namespace tp::bench {

// In words that fit what ran: the modes, whether anything was sharded, whether it was verified.
// Begins with "Verdict:" or says that nothing was verified; ends in a newline.
std::string Verdict(const BenchOptions& options, const BenchResult& result);

// Of a program whose checks came out so: 0, 1 for kFail, 3 for kUndecided.
int ExitStatusOf(verify::Outcome outcome);

}  // namespace tp::bench
