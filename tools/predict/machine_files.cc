#include "tools/predict/machine_files.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <utility>

#include "tools/io/paths.h"

namespace tp::predict_tool {
namespace {

StatusOr<std::string> ReadText(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  if (!file.good() && !file.eof()) return NotFound(path + ": can't be read");
  return text.str();
}

}  // namespace

bool LoadedMachine::fitted() const { return fit != nullptr && !fit->names().empty(); }

void LoadedMachine::Take(const predict::Measurements& timed) {
  if (fit == nullptr) fit = std::make_unique<predict::Fit>(predict::Measurements(), machine);
  fit->Take(timed);
  timed_on = timed.where.empty() ? "an unnamed place" : timed.where;
}

StatusOr<predict::Measurements> LoadMeasurements(const std::string& path) {
  TP_ASSIGN_OR_RETURN(const std::string text, ReadText(path));
  return predict::ParseMeasurements(text, path);
}

StatusOr<std::unique_ptr<LoadedMachine>> LoadMachine(const PredictOptions& options) {
  auto loaded = std::make_unique<LoadedMachine>();
  predict::Measurements measurements;
  constexpr std::string_view kPreset = "preset:";
  if (options.machine.starts_with(kPreset)) {
    TP_ASSIGN_OR_RETURN(loaded->machine,
                        sim::PresetMachine(options.machine.substr(kPreset.size())));
  } else {
    const std::string path = io::ResolvePath(options.machine);
    TP_ASSIGN_OR_RETURN(const std::string text, ReadText(path));
    TP_ASSIGN_OR_RETURN(loaded->machine, sim::ParseMachine(text, path));
    TP_ASSIGN_OR_RETURN(measurements, predict::ParseMeasurements(text, path));
  }
  if (!options.fit.empty()) {
    TP_ASSIGN_OR_RETURN(measurements, LoadMeasurements(options.fit));
  }
  for (const auto& [device, times] : options.stragglers) {
    if (device >= loaded->machine.devices()) {
      return InvalidArgument("--straggler: " + loaded->machine.name + " has no device " +
                             std::to_string(device));
    }
    loaded->machine.slower[device] = times;
  }
  for (const sim::Machine::SlowPair& pair : options.links) {
    if (std::max(pair.a, pair.b) >= loaded->machine.devices()) {
      return InvalidArgument("--link: " + loaded->machine.name + " has no device " +
                             std::to_string(std::max(pair.a, pair.b)));
    }
    loaded->machine.slow_pairs.push_back(pair);
  }
  if (!measurements.products.empty() || !measurements.ops.empty() ||
      !measurements.collectives.empty()) {
    loaded->fit = std::make_unique<predict::Fit>(std::move(measurements), loaded->machine);
  }
  return loaded;
}

}  // namespace tp::predict_tool
