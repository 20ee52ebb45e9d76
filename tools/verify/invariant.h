// The TP-invariant lane: the same bits whatever the split.
//
// Our engine trains in the invariant order of sums (tp/core/sum_order.h) on the user's tensors, for
// every tp of kInvariantTp and in each mode, and every element of every result must be the one of
// the first run, to the bit. A tp that takes more ranks than the backend has (GPUs, say) is named
// and not run. There is no reference here: that the bits are right is for the other lanes to say.
#pragma once

#include <string>
#include <vector>

#include "tools/bench/options.h"
#include "tp/core/status.h"
#include "tp/layers/linear.h"
#include "tp/runtime/backend.h"
#include "tp/verify/expectation.h"
#include "tp/verify/reference.h"
#include "tp/verify/report.h"

namespace tp::verifier {

inline constexpr int kInvariantTp[] = {1, 2, 3, 4, 6, 8};

struct InvariantRun {
  int tp = 1;
  LinearMode mode = LinearMode::kRow;
  std::vector<verify::Quantity> different;  // from the first run
};

// A tp for which the backend has too few ranks.
struct InvariantGap {
  int tp = 1;
  std::string why;
};

struct InvariantResult {
  std::vector<InvariantRun> runs;
  std::vector<InvariantGap> not_run;

  bool ok() const;
};

// What differs between two runs in any bit, in program order. Zeros of other signs differ.
std::vector<verify::Quantity> DifferentBits(const verify::Observed& a, const verify::Observed& b);

// In the modes of `engine` and with its dp, which divides kSumBlocks; its tp does not matter.
// Errors: the backend's; also where it can't run two degrees.
StatusOr<InvariantResult> RunInvariant(Backend& backend, const bench::BenchOptions& engine,
                                       const verify::LinearProblem& problem);

}  // namespace tp::verifier
