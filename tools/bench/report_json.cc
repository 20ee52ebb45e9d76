#include "tools/bench/report_json.h"

namespace tp::bench {

using Json = nlohmann::ordered_json;

nlohmann::ordered_json ReportToJson(const verify::Report& report) {
  Json quantities = Json::object();
  for (const verify::QuantityReport& quantity : report.quantities) {
    if (!quantity.given) continue;
    Json json = {{"ok", quantity.ok()},
                 {"outcome", Name(quantity.outcome())},
                 {"checked", quantity.checked},
                 {"total", quantity.total},
                 {"failing", quantity.failing},
                 {"undecided", quantity.undecided},
                 {"size", quantity.size},
                 {"error", quantity.error},
                 {"bound", quantity.bound},
                 {"error_over_bound", quantity.ratio},
                 {"worst_index", quantity.worst_index},
                 {"observed", quantity.observed},
                 {"expected", quantity.expected},
                 {"ranks", quantity.owners},
                 {"causes", quantity.causes},
                 {"notes", quantity.notes}};
    if (quantity.follows_from) json["follows_from"] = Name(*quantity.follows_from);
    quantities[std::string(Name(quantity.quantity))] = json;
  }
  Json json = {{"ok", report.ok()},
               {"outcome", Name(report.outcome())},
               {"lane", Name(report.lane)},
               {"coverage", report.coverage},
               {"quantities", quantities}};
  if (report.first_divergence) json["first_divergence"] = Name(*report.first_divergence);
  return json;
}

std::string_view OutcomeOfRun(bool complete, verify::Outcome checks) {
  return complete || checks == verify::Outcome::kFail ? verify::Name(checks) : "incomplete";
}

}  // namespace tp::bench
