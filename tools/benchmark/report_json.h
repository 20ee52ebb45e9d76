// A comparison's report for programs. Keys: docs/json.md.
#pragma once

#include <nlohmann/json.hpp>

#include "tp/verify/report.h"

namespace tp::bench {

nlohmann::ordered_json ReportToJson(const verify::Report& report);

}  // namespace tp::bench
