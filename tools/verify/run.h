// One verification: our engine on the user's tensors, lane by lane, and the user's own results.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tools/bench/run.h"
#include "tools/io/progress.h"
#include "tools/verify/invariant.h"
#include "tools/verify/op_by_op.h"
#include "tools/verify/options.h"
#include "tools/verify/tensors.h"
#include "tp/core/status.h"
#include "tp/runtime/backend.h"
#include "tp/verify/report.h"

namespace tp::verifier {

struct LaneRun {
  verify::Lane lane = verify::Lane::kBounded;
  std::string inputs;                        // on what it ran, or why it could not
  std::optional<bench::BenchResult> result;  // none where it could not
};

struct VerifierResult {
  std::vector<LaneRun> lanes;
  std::optional<InvariantResult> invariant;
  std::optional<OpByOpResult> op_by_op;
  std::optional<verify::Report> expected;  // the user's results against the reference
  bool complete = true;                    // false: interrupted

  // The gravest of all that was asked for. A lane that could not run is undecided.
  verify::Outcome outcome() const;
  bool ok() const { return outcome() == verify::Outcome::kOk; }
};

// What a run tells while it goes on; each may be empty. On rank 0's process only.
struct RunHooks {
  // A part of the result is there: the last lane, the invariant lane or the user's results.
  std::function<void(const LaneRun&)> lane_done = nullptr;
  std::function<void(const InvariantResult&)> invariant_done = nullptr;
  std::function<void(const OpByOpResult&)> op_by_op_done = nullptr;
  // Ctrl-C: writes what is there, and then the process ends. Where this is empty, the run takes no
  // notice of signals.
  std::function<void(const VerifierResult&)> interrupted = nullptr;
  io::Progress* progress = nullptr;
};

// The exact lane runs on the user's tensors if these leave no room for rounding, else on integers
// of the same sizes. Where another process has rank 0, the result is empty (and ok). Errors: the
// backend's, the tensors'.
StatusOr<VerifierResult> RunVerifier(Backend& backend, const VerifierOptions& options,
                                     const UserTensors& tensors, const RunHooks& hooks = {});

}  // namespace tp::verifier
