#include "tools/bench/facts_json.h"

#include <string>

#include "tools/bench/commit.h"

namespace tp::bench {

using Json = nlohmann::ordered_json;

Json HostToJson(const Machine& machine,
                const std::vector<std::pair<std::string, std::string>>& host) {
  Json json = {{"name", machine.name}, {"processor", machine.processor}};
  for (const auto& [what, value] : host) {
    json[what] = value;
    if (what == "cores") json[what] = std::stoi(value);  // a number, as sweep has it
  }
  return json;
}

Json RunToJson(const RunFacts& run) {
  return {{"commit", kCommit},
          {"date", run.machine.date},
          {"load", run.machine.load < 0 ? Json() : Json(run.machine.load)},
          {"others_share", run.others ? Json(*run.others) : Json()},
          {"warnings", run.warnings}};
}

}  // namespace tp::bench
