// A comparison's report for programs: `ok`, `lane`, `coverage`, and in `quantities`, by name, what
// verify::QuantityReport has.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "tp/verify/report.h"

namespace tp::bench {

nlohmann::ordered_json ReportToJson(const verify::Report& report);

// `outcome` of a whole run: that of the checks that were made; of a run that was interrupted, and
// in which none failed, "incomplete".
std::string_view OutcomeOfRun(bool complete, verify::Outcome checks);

}  // namespace tp::bench
