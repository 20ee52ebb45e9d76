// The lane that goes op by op: one step of our engine, every value of which is read and held
// against its op's reference on the inputs that were observed (tp/verify/op_by_op.h).
//
// It knows nothing of the layer: it is the program that says what each op should have given.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tools/bench/options.h"
#include "tp/core/status.h"
#include "tp/layers/linear.h"
#include "tp/runtime/backend.h"
#include "tp/verify/op_by_op.h"
#include "tp/verify/reference.h"

namespace tp::verifier {

struct OpByOpRun {
  LinearMode mode = LinearMode::kRow;
  verify::OpByOpReport report;
};

struct OpByOpResult {
  int step = 0;                 // that was observed, from 0: the last one
  std::vector<OpByOpRun> runs;  // one a mode

  // The gravest of the runs'.
  verify::Outcome outcome() const;
};

// In the modes of `engine`, the last of its steps. Where another process has rank 0, the result has
// no runs. Errors: the backend's.
StatusOr<OpByOpResult> RunOpByOp(Backend& backend, const bench::BenchOptions& engine,
                                 const verify::LinearProblem& problem);

// The arithmetic of the engine's backend, and on which elements.
verify::OpByOpOptions OpByOpOptionsOf(const bench::BenchOptions& engine, LinearMode mode);

// The report's text, indented, in lines of io::kTextWidth; `what` stands before it.
std::string RenderReport(std::string_view what, const verify::OpByOpReport& report);

}  // namespace tp::verifier
