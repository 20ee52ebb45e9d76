// What the train tool is asked to do, and its command line.
#pragma once

#include <cstdint>
#include <string>

#include "tools/bench/options.h"
#include "tools/train/model_flags.h"
#include "tp/core/status.h"

namespace tp::train {

struct TrainOptions {
  bench::BenchOptions engine;  // where it runs, its dtype, order of sums and seed
  ModelOptions model;
  bool model_given = false;  // by the command line
  int64_t steps = 1;
  double peak_rate = 0;
  double least_rate = 0;
  int64_t warmup = 0;
  int64_t eval_every = 0;  // steps; 0: only at the end
  std::string save;        // a folder of checkpoints; "": none
  int64_t save_every = 0;  // steps; 0: only at the end
  bool resume = false;
  int64_t sample = 0;  // tokens
  double temperature = 0;
  std::string prompt;
  bool prompt_given = false;
  std::string log;  // paths; "" where not asked for
  std::string logdir;
  bool plan = false;  // say what a rank needs, and run nothing
};

// Reads the command line, as engine_flags.h's ParseFlags does. Errors: INVALID_ARGUMENT that names
// the flag, its value, and what it may be.
StatusOr<TrainOptions> ParseCommandLine(int argc, char** argv);

}  // namespace tp::train
