// The command line of the bench.
#pragma once

#include "tools/bench/options.h"
#include "tools/train/model_flags.h"
#include "tp/core/status.h"

namespace tp::bench {

struct CommandLine {
  BenchOptions options;
  train::ModelOptions model;  // not given: the linear layer's step
};

// Reads the command line, as engine_flags.h's ParseFlags does.
// Errors: INVALID_ARGUMENT that names the flag, its value, and what it may be; a flag of the other
// step than the one that is asked for.
StatusOr<CommandLine> ParseCommandLine(int argc, char** argv);

}  // namespace tp::bench
