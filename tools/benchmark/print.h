// The bench's report for people.
#pragma once

#include <string>

#include "tools/benchmark/options.h"
#include "tools/benchmark/run.h"

namespace tp::bench {

// Head, one section a mode, the modes side by side, and the verdict.
std::string Render(const BenchOptions& options, const BenchResult& result);

}  // namespace tp::bench
