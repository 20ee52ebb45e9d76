// What every record of a measured step holds, whatever the step's program.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "tools/bench/measured.h"
#include "tools/bench/options.h"

namespace tp::bench {

// The flags of the engine and of what is measured, for `config`.
nlohmann::ordered_json EngineToJson(const BenchOptions& options);

// median, min and p99.
nlohmann::ordered_json QuantilesToJson(const Quantiles& quantiles);

// clock, step_ms, step_ms_all, memory_bytes, ..., phases, ops, ranks, bytes, replica_defects, and
// profile where there is one: those of results[] in json.h.
nlohmann::ordered_json StepToJson(const MeasuredStep& step, const std::vector<double>& losses);

}  // namespace tp::bench
