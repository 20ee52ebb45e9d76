// One bench run: trains in each mode, reports times and bytes, and verifies what came out.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tools/benchmark/data.h"
#include "tools/benchmark/options.h"
#include "tp/core/status.h"
#include "tp/observe/rank_report.h"
#include "tp/observe/step_report.h"
#include "tp/observe/timeline.h"
#include "tp/runtime/backend.h"
#include "tp/verify/compare.h"
#include "tp/verify/report.h"

namespace tp::bench {

struct ModeResult {
  LinearMode mode = LinearMode::kRow;
  StepReport steps;
  std::vector<Timeline> timelines;  // of each rank, where it was profiled
  RankReport ranks;
  verify::Observed observed;
  std::vector<std::string> replica_defects;
  std::optional<verify::Report> equivalence;  // against the reference; none where not verified
  // Some steps one by one, each from the weights that it started with. None in the exact lane,
  // where the run as a whole has no error at all, and where a step is too large.
  std::optional<verify::Report> step_by_step;
};

struct BenchResult {
  std::vector<std::pair<std::string, std::string>> host;
  std::vector<ModeResult> modes;
  std::optional<verify::Report> between_modes;  // row against column

  // Of every byte count and every comparison, the gravest.
  verify::Outcome outcome() const;
  bool ok() const { return outcome() == verify::Outcome::kOk; }
};

// Floating-point operations of a step: three products of tokens x in x out.
double FlopsPerStep(const BenchOptions& options);

StatusOr<std::unique_ptr<Backend>> MakeBackend(const BenchOptions& options);

// Fills in what the backend decides: the tp of a run that names none.
void FillDefaults(const Backend& backend, BenchOptions& options);

// Trains and verifies. Where another process has rank 0, the result is empty (and ok).
// Errors: the backend's, or input that can't be read.
StatusOr<BenchResult> RunBench(Backend& backend, const BenchOptions& options);
// The same of data at hand, whose sizes, steps and learning rate are those of the options.
StatusOr<BenchResult> RunBench(Backend& backend, const BenchOptions& options,
                               const TrainingData& data);

// The arithmetic of the backend in a mode, and how much of a large problem is verified.
verify::NumericModel ModelOf(const BenchOptions& options, LinearMode mode);
verify::VerifyOptions VerifyOptionsOf(const BenchOptions& options, verify::Lane lane);

// Writes the tensors that --dump asks for. Errors: a folder or file that can't be written.
Status DumpTensors(const BenchOptions& options, const BenchResult& result);

}  // namespace tp::bench
