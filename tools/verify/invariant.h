// The TP-invariant lane: the same bits whatever the split.
//
// Our engine trains in the invariant order of sums (tp/core/sum_order.h), the layer on the user's
// tensors and in each mode, a transformer as the flags say, for every tp of kInvariantTp; and every
// element of every result must be the one of the first run, to the bit. A tp that takes more ranks
// than the backend has (GPUs, say) is named and not run. There is no reference here: that the bits
// are right is for the other lanes to say.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/bench/options.h"
#include "tp/core/status.h"
#include "tp/runtime/backend.h"
#include "tp/verify/expectation.h"
#include "tp/verify/reference.h"
#include "tp/verify/report.h"

namespace tp::verifier {

inline constexpr int kInvariantTp[] = {1, 2, 3, 4, 6, 8};

struct InvariantRun {
  int tp = 1;
  std::string_view mode = {};          // "row" or "column"; of a transformer empty
  std::vector<std::string> different;  // from the first run
};

// A tp for which the backend has too few ranks.
struct InvariantGap {
  int tp = 1;
  std::string why;
};

struct InvariantResult {
  std::string compared;  // "Y, loss, dX"
  std::vector<InvariantRun> runs;
  std::vector<InvariantGap> not_run;

  bool ok() const;
};

// What differs between two runs in any bit, in program order. Zeros of other signs differ.
std::vector<verify::Quantity> DifferentBits(const verify::Observed& a, const verify::Observed& b);

// Calls `run`, which adds to the result, for every tp of kInvariantTp that the backend can run
// beside engine.dp, which divides kSumBlocks, with `engine` in the invariant order. Errors: those
// of `run`; the backend's where it can't run two degrees.
Status ForEachTp(const Backend& backend, const bench::BenchOptions& engine, InvariantResult& result,
                 const std::function<Status(const bench::BenchOptions& engine)>& run);

// The layer in the modes of `engine`; its tp does not matter.
StatusOr<InvariantResult> RunInvariant(Backend& backend, const bench::BenchOptions& engine,
                                       const verify::LinearProblem& problem);

// What agrees in one line, or a table of the runs; and the degrees that were not run.
std::string RenderRuns(const InvariantResult& result, bool verbose);

}  // namespace tp::verifier
