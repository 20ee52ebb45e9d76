// Times the ops of what is to be predicted on a device of --backend: one rank's part, alone. So a
// step of a thousand ranks is predicted from the kernels of one GPU.
//
// Where ranks hold different sizes it is rank 0's that are timed. Of a model that has more, two
// layers are: the others are alike.
#pragma once

#include "backends/predict/measurements.h"
#include "sim/topology/machine.h"
#include "tools/predict/options.h"
#include "tp/core/status.h"

namespace tp::predict_tool {

// Of the step that the options ask for, or of all that `scored` has; in rounds of all, as many as
// fit into options.calibrate_seconds, and one at least. Errors: the backend's, as where the device
// has too little memory; a step that can't be built.
StatusOr<predict::Measurements> TimeOps(const PredictOptions& options, const sim::Machine& machine,
                                        const predict::Measurements* scored);

}  // namespace tp::predict_tool
