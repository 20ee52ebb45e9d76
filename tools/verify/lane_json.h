// The lanes' results for programs.
#pragma once

#include <nlohmann/json.hpp>

#include "tools/verify/invariant.h"
#include "tp/verify/op_by_op.h"

namespace tp::verifier {

// `outcome`, `first_failure` where there is one, and `values[]`: of each that was checked its name,
// op, outcome, how many of its elements were checked and failed, its worst error and bound, and
// what is said of it.
nlohmann::ordered_json OpByOpToJson(const verify::OpByOpReport& report);

// Adds `invariant[]` (tp, mode where there are modes, different) and `invariant_not_run[]`.
void AddInvariant(const InvariantResult& result, nlohmann::ordered_json& json);

}  // namespace tp::verifier
