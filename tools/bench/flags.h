// The command line of the bench.
#pragma once

#include "tools/bench/options.h"
#include "tp/core/status.h"

namespace tp::bench {

// Reads the command line, as engine_flags.h's ParseFlags does.
// Errors: INVALID_ARGUMENT that names the flag, its value, and what it may be.
StatusOr<BenchOptions> ParseCommandLine(int argc, char** argv);

}  // namespace tp::bench
