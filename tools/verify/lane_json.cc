#include "tools/verify/lane_json.h"

namespace tp::verifier {

using Json = nlohmann::ordered_json;

Json OpByOpToJson(const verify::OpByOpReport& report) {
  Json json = {{"outcome", verify::Name(report.outcome())}, {"values", Json::array()}};
  const verify::OpReport* first = report.first_failure();
  if (first != nullptr) json["first_failure"] = first->name;
  for (const verify::OpReport& value : report.values) {
    if (value.checked == 0) continue;
    json["values"].push_back({{"name", value.name},
                              {"op", value.what},
                              {"outcome", verify::Name(value.outcome())},
                              {"checked", value.checked},
                              {"total", value.total},
                              {"failing", value.failing},
                              {"error", value.error},
                              {"bound", value.bound},
                              {"exact", value.exact},
                              {"replica_defects", value.replica_defects},
                              {"causes", value.causes},
                              {"notes", value.notes}});
  }
  return json;
}

void AddInvariant(const InvariantResult& result, Json& json) {
  for (const InvariantRun& run : result.runs) {
    Json one = {{"tp", run.tp}};
    if (!run.mode.empty()) one["mode"] = run.mode;
    one["different"] = run.different;
    json["invariant"].push_back(std::move(one));
  }
  for (const InvariantGap& gap : result.not_run) {
    json["invariant_not_run"].push_back({{"tp", gap.tp}, {"why", gap.why}});
  }
}

}  // namespace tp::verifier
