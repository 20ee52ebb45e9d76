// A report of a transformer's verification, for people and for programs.
#pragma once

#include <string>

#include "tools/bench/machine.h"
#include "tools/verify/model.h"
#include "tools/verify/options.h"

namespace tp::verifier {

// Which model, and how it is split.
std::string RenderModelHead(const VerifierOptions& options, const ModelResult& result);
std::string RenderModelLane(const VerifierOptions& options, const ModelResult& result,
                            ModelLane lane);
// The verdict.
std::string RenderModelEnd(const ModelResult& result);

// `config` with `model` as the bench has them, `host`, `run`, `complete`, `op_by_op` and `exact`
// (of lane_json.h, with `step`), `invariant[]`, `invariant_not_run[]`, `ok` and `outcome`.
std::string ModelToJson(const VerifierOptions& options, const bench::RunFacts& run,
                        const ModelResult& result);

}  // namespace tp::verifier
