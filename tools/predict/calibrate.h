// Calibrate: measures the machine that this runs on, by a backend, and writes its file.
//
// What is measured are launches of the engine's own kernels, on random data, as a step runs them:
// see calibration.h. What is held out goes to FILE.heldout.json, for --score, and what the ops of
// the steps in it take to FILE.ops.json, for --ops.
#pragma once

#include "tools/io/outputs.h"
#include "tools/predict/options.h"
#include "tp/core/status.h"

namespace tp::predict_tool {

// Of the other files' names, behind the first's.
inline constexpr char kHeldOutEnding[] = ".heldout.json";
inline constexpr char kOpsEnding[] = ".ops.json";

// Errors: the backend's, or a file that can't be written.
StatusOr<int> Calibrate(const PredictOptions& options, io::Outputs& outputs);

}  // namespace tp::predict_tool
