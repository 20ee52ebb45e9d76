// The bench's report for programs.
//
//   config           what was asked for, flag by flag
//   host             name, processor, and what the backend says: the same for each run on a machine
//   run              commit that the program is of, date in UTC, load (mean of the last minute, at
//                    the start), others_share (of all cores, what other processes took meanwhile),
//                    warnings
//   complete         false: interrupted; results has what was measured until then
//   results[]        one a mode: clock (of the times: measured or predicted), step_ms (median,
//                    min, max, p99), step_ms_all, products_ms, flops_per_second, share_of_peak,
//                    speedup_over_tp1, losses, phases, ops, ranks, bytes, equivalence; by rank
//                    memory_bytes (as planned), memory_bytes_allocated, memory_bytes_of_scratch,
//                    memory_bytes_without_reuse
//   row_over_column  the ratio of their steps: median, low, high, miss, blocks, distinguishable
//   peak, tp1        what those shares are of, where they were measured
//   outcome          ok, undecided or FAIL: of the checks that were made; incomplete where it was
//                    interrupted and none failed
//   ok               whether every check that was asked for was made, and held
//
// Units are in the names. What was not measured is null.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tools/bench/machine.h"
#include "tools/bench/options.h"
#include "tools/bench/run.h"

namespace tp::bench {

std::string ToJson(const BenchOptions& options, const RunFacts& run, const BenchResult& result);

}  // namespace tp::bench
