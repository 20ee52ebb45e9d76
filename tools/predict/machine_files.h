// Reading machines and measurements, with what the command line changes of them.
#pragma once

#include <memory>
#include <string>

#include "backends/predict/cost_model.h"
#include "backends/predict/fit.h"
#include "sim/topology/machine.h"
#include "tools/predict/options.h"
#include "tp/core/status.h"

namespace tp::predict_tool {

struct LoadedMachine {
  sim::Machine machine;
  std::unique_ptr<predict::Fit> fit;  // null where nothing was measured
  std::string timed_on;               // where ops were timed that predictions take; "": nowhere

  // Whether there is more than such ops.
  bool fitted() const;
  void Take(const predict::Measurements& timed);
};

// Errors: INVALID_ARGUMENT and NOT_FOUND that name the file or the preset; a straggler or link of a
// device that the machine has not.
StatusOr<std::unique_ptr<LoadedMachine>> LoadMachine(const PredictOptions& options);

StatusOr<predict::Measurements> LoadMeasurements(const std::string& path);

}  // namespace tp::predict_tool
