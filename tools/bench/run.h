// One bench run: trains in each mode, reports times and bytes, and verifies what came out.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tools/bench/data.h"
#include "tools/bench/measured.h"
#include "tools/bench/options.h"
#include "tools/bench/ratio.h"
#include "tools/io/progress.h"
#include "tp/core/status.h"
#include "tp/observe/step_report.h"
#include "tp/runtime/backend.h"
#include "tp/verify/compare.h"
#include "tp/verify/report.h"
#include "tp/verify/steps.h"

namespace tp::bench {

struct ModeResult : MeasuredStep {
  LinearMode mode = LinearMode::kRow;
  verify::Observed observed;
  std::vector<verify::ObservedStep> watched;  // until these are verified
  std::optional<verify::Report> equivalence;  // against the reference; none where not verified
  // Some steps one by one, each from the weights that it started with. None in the exact lane,
  // where the run as a whole has no error at all, and where a step is too large.
  std::optional<verify::Report> step_by_step;
};

struct BenchResult {
  std::vector<std::pair<std::string, std::string>> host;
  std::vector<ModeResult> modes;  // an interrupted run lacks those that no step was timed of
  std::optional<verify::Report> between_modes;  // row against column
  // Of the median step of the first mode over that of the second, where both were measured.
  std::optional<Interval> ratio;
  size_t ratio_blocks = 0;       // on how many pairs of blocks it rests
  std::optional<double> peak;    // FLOP/s: what this machine's products reach; measured
  std::optional<Quantiles> tp1;  // the step with tp 1, in ms, where asked for
  bool complete = true;          // false: interrupted

  // Of every byte count and every comparison, the gravest.
  verify::Outcome outcome() const;
  bool ok() const { return outcome() == verify::Outcome::kOk; }
};

// What a run tells while it goes on; each may be empty. All are called on rank 0's process.
struct RunHooks {
  // Nothing can be refused any more: `host` is there.
  std::function<void(const BenchResult&)> started = nullptr;
  // A mode is measured and verified.
  std::function<void(const BenchResult&, const ModeResult&)> mode_done = nullptr;
  // Ctrl-C before the first step has ended, or while a result is verified: writes what is there,
  // and then the process ends. Ctrl-C in between ends training after the step at hand. Where this
  // is empty, the run takes no notice of signals.
  std::function<void(const BenchResult&)> interrupted = nullptr;
  io::Progress* progress = nullptr;
};

// Floating-point operations of a step: three products of tokens x in x out.
double FlopsPerStep(const BenchOptions& options);

StatusOr<std::unique_ptr<Backend>> MakeBackend(const BenchOptions& options);

// Fills in what the backend decides: the tp of a run that names none.
void FillDefaults(const Backend& backend, BenchOptions& options);

// Trains, in blocks of steps that alternate between the modes, and verifies. Where another process
// has rank 0, the result is empty (and ok). Errors: the backend's, or input that can't be read.
StatusOr<BenchResult> RunBench(Backend& backend, const BenchOptions& options,
                               const RunHooks& hooks = {});
// The same of data at hand, whose sizes, steps and learning rate are those of the options.
StatusOr<BenchResult> RunBench(Backend& backend, const BenchOptions& options,
                               const TrainingData& data);

// The arithmetic of the backend in a mode, and how much of a large problem is verified.
verify::NumericModel ModelOf(const BenchOptions& options, LinearMode mode);
verify::VerifyOptions VerifyOptionsOf(const BenchOptions& options, verify::Lane lane);

}  // namespace tp::bench
