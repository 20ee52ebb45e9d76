// What the verify tool is asked to do, and its command line.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tools/bench/options.h"
#include "tools/train/model_flags.h"
#include "tp/core/status.h"
#include "tp/verify/report.h"

namespace tp::verifier {

struct VerifierOptions {
  // How the engine runs. The sizes are those of the tensors (tensors.h fills them in).
  bench::BenchOptions engine;
  // Where "x", "targets", "w", "b" are, of those that were named: FILE.npy or
  // FILE.safetensors:NAME.
  std::map<std::string, std::string> tensors;
  // A folder with those that were not: x.npy, targets.npy, w.npy, b.npy. "" where not given.
  std::string load;
  // The lanes in which the engine is verified.
  std::vector<verify::Lane> lanes;
  bool invariant = false;  // and in the lane of invariant.h
  bool op_by_op = false;   // and in that of op_by_op.h
  // A transformer, whose step is verified in place of the layer's: op by op, and in the lanes above
  // but the bounded one.
  train::ModelOptions model;
  // A folder with the user's own results; "" where not given.
  std::string expect;
};

// Reads the command line, as tools/bench/engine_flags.h's ParseFlags does.
// Errors: INVALID_ARGUMENT that names the flag, its value, and what it may be.
StatusOr<VerifierOptions> ParseCommandLine(int argc, char** argv);

}  // namespace tp::verifier
