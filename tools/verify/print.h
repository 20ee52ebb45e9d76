// A verification's report, for people and for programs: a line a comparison that found nothing, its
// table where it found something or with --verbose.
#pragma once

#include <string>

#include "tools/bench/machine.h"
#include "tools/verify/run.h"

namespace tp::verifier {

// What is verified: the sizes, and where each tensor comes from.
std::string RenderHead(const VerifierOptions& options, const UserTensors& tensors);

std::string RenderLane(const VerifierOptions& options, const LaneRun& run);
std::string RenderInvariant(const VerifierOptions& options, const InvariantResult& result);
std::string RenderOpByOp(const OpByOpResult& result);

// The user's results, if there are any, and the verdict.
std::string RenderEnd(const VerifierOptions& options, const VerifierResult& result);

// `config`, `host`, `run`, `complete`, `tensors`, `lanes[]`, `invariant[]`, `invariant_not_run[]`,
// `op_by_op[]` and `expect`, each comparison as in the bench's JSON, and `ok`.
std::string ToJson(const VerifierOptions& options, const bench::RunFacts& run,
                   const UserTensors& tensors, const VerifierResult& result);

}  // namespace tp::verifier
