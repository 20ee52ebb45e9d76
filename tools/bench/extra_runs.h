// Runs beside the one that was asked for, that its numbers are held against.
#pragma once

#include <functional>
#include <optional>

#include "tools/bench/data.h"
#include "tools/bench/options.h"
#include "tp/core/status.h"
#include "tp/layers/linear.h"
#include "tp/model/linear_step.h"
#include "tp/observe/step_report.h"
#include "tp/runtime/backend.h"

namespace tp::bench {

// The training step of a run in a mode.
LinearStepOptions StepOf(const BenchOptions& options, LinearMode mode);

// Floating-point operations a second of large square products of the run's type, split over as many
// ranks: measured, the best of a few. They are larger where the run's step, of `step_flops`, is.
// None where another process has rank 0, or `stop`, as of TrainOptions, ended it. Errors: the
// backend's.
StatusOr<std::optional<double>> MeasurePeak(Backend& backend, const BenchOptions& options,
                                            double step_flops, const std::function<bool()>& stop);

// Step times of the same layer on the same data with tp 1, in ms: measured. None in the same cases.
// Errors: the backend's.
StatusOr<std::optional<Quantiles>> TimeWithTp1(Backend& backend, const BenchOptions& options,
                                               const TrainingData& data,
                                               const std::function<bool()>& stop);

}  // namespace tp::bench
