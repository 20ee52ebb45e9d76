// What every tool's JSON says of the machine and the run.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tools/bench/machine.h"

namespace tp::bench {

// `host`: name, processor and what the backend says; the same for every run on this machine.
nlohmann::ordered_json HostToJson(const Machine& machine,
                                  const std::vector<std::pair<std::string, std::string>>& host);

// `run`: commit, date, load, others_share, warnings; null for a number that is not known.
nlohmann::ordered_json RunToJson(const RunFacts& run);

}  // namespace tp::bench
