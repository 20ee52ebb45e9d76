// A comparison's report for programs: `ok`, `lane`, `coverage`, and in `quantities`, by name, what
// verify::QuantityReport has.
#pragma once

#include <nlohmann/json.hpp>

#include "tp/verify/report.h"

namespace tp::bench {

nlohmann::ordered_json ReportToJson(const verify::Report& report);

}  // namespace tp::bench
