// A verification's report, for people and for programs.
#pragma once

#include <string>

#include "tools/verifier/run.h"

namespace tp::verifier {

// The tensors, a section a lane, the user's results, and the verdict.
std::string Render(const VerifierOptions& options, const UserTensors& tensors,
                   const VerifierResult& result);

// `config`, `tensors`, `lanes[]`, `invariant[]`, `invariant_not_run[]` and `expect`, each
// comparison as in the bench's JSON, and `ok`.
std::string ToJson(const VerifierOptions& options, const UserTensors& tensors,
                   const VerifierResult& result);

}  // namespace tp::verifier
