// What the predict tool is asked to do, and its command line.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sim/topology/machine.h"
#include "tools/bench/options.h"
#include "tp/core/status.h"
#include "tp/model/transformer.h"

namespace tp::predict_tool {

// first, first * 2, ... up to last.
struct AxisRange {
  int first = 1;
  int last = 1;
  std::vector<int> Values() const;
};

struct PredictOptions {
  bench::BenchOptions engine;           // mode, tp, dp, dtype, sizes, algorithm, backend
  std::string machine;                  // "preset:NAME", or a file
  std::string fit;                      // a file of measurements to fit the machine to
  std::string model;                    // a transformer's preset; "": the linear step
  std::optional<TransformerPart> part;  // of it; none: the whole
  TransformerStepOptions step;
  bool sweep = false;
  AxisRange sweep_tp, sweep_dp;
  int top = 5;
  std::vector<std::pair<int, double>> stragglers;  // device, how many times as long
  std::vector<sim::Machine::SlowPair> links;
  std::string trace_dir;
  std::string chakra;     // what the names of Chakra traces begin with
  std::string calibrate;  // files to write, or to read
  double calibrate_seconds = 120;
  std::string time_ops;  // a file of ops to write, and to take; "": none are timed
  std::string ops;       // such a file, to take
  std::string score;
};

// Errors: INVALID_ARGUMENT that names the flag, its value and what it may be.
StatusOr<PredictOptions> ParseCommandLine(int argc, char** argv);

}  // namespace tp::predict_tool
