// The bench's report for programs: `config`, `host` and one entry a mode in `results`.
//
// Units are in the names. All times are measured.
#pragma once

#include <string>

#include "tools/benchmark/options.h"
#include "tools/benchmark/run.h"

namespace tp::bench {

std::string ToJson(const BenchOptions& options, const BenchResult& result);

}  // namespace tp::bench
