#include "tools/predict/plan_json.h"

#include <nlohmann/json.hpp>

#include "fmt/format.h"
#include "fmt/ranges.h"
#include "tools/bench/facts_json.h"
#include "tools/bench/machine.h"
#include "tp/core/clock.h"

namespace tp::predict_tool {
namespace {

using Json = nlohmann::ordered_json;

Json ConfigOf(const PredictOptions& options) {
  const TransformerStepOptions step = StepOf(options, {});
  std::vector<std::string> stragglers, links;  // as the flags say them
  for (const auto& [device, times] : options.stragglers) {
    stragglers.push_back(fmt::format("{}:{}", device, times));
  }
  for (const sim::Machine::SlowPair& pair : options.links) {
    links.push_back(fmt::format("{}-{}:{}", pair.a, pair.b, pair.part));
  }
  return {{"model", options.model},
          {"batch", step.batch},
          {"sequence", step.sequence},
          {"dtype", Name(step.dtype)},
          {"micro_batches", step.micro_batches},
          {"overlap", step.overlap},
          {"strands", step.strands},
          {"masters", step.adamw.masters},
          {"algorithm", sim::Name(options.engine.algorithm)},
          {"straggler", fmt::format("{}", fmt::join(stragglers, ","))},
          {"link", fmt::format("{}", fmt::join(links, ","))}};
}

Json MachineOf(const LoadedMachine& loaded) {
  const sim::Machine& machine = loaded.machine;
  size_t fitted = 0;
  if (loaded.fit != nullptr) {
    const predict::Measurements& points = loaded.fit->measurements();
    fitted = points.products.size() + points.ops.size() + points.collectives.size();
  }
  return {{"name", machine.name},
          {"device", machine.device.name},
          {"nodes", machine.nodes},
          {"devices_per_node", machine.devices_per_node},
          {"memory_bytes", machine.device.memory_bytes},
          {"fitted_on", fitted},
          {"unvalidated", machine.unvalidated}};
}

Json ConfigurationOf(const Config& config, const predict::Prediction* whole) {
  const auto ms = [&](double predict::Prediction::*seconds) {
    return whole == nullptr ? Json() : Json(whole->*seconds * 1e3);
  };
  return {{"tp", config.tp},
          {"dp", config.dp},
          {"sequence_parallel", config.sequence_parallel},
          {"recompute", config.recompute},
          {"closed_ms", config.closed_seconds * 1e3},
          {"memory_bytes", config.memory_bytes},
          {"fits", config.fits},
          {"step_ms", ms(&predict::Prediction::seconds)},
          {"compute_ms", ms(&predict::Prediction::compute_seconds)},
          {"exposed_ms", ms(&predict::Prediction::exposed_seconds)}};
}

}  // namespace

std::string ToJson(const PredictOptions& options, const LoadedMachine& loaded, const Plan& plan) {
  Json configurations = Json::array();
  for (size_t i = 0; i < plan.configs.size(); ++i) {
    configurations.push_back(
        ConfigurationOf(plan.configs[i], i < plan.whole.size() ? &plan.whole[i] : nullptr));
  }
  bench::RunFacts run;
  run.machine = bench::ThisMachine();
  const Json json = {{"config", ConfigOf(options)},  {"machine", MachineOf(loaded)},
                     {"run", bench::RunToJson(run)}, {"clock", Name(ClockKind::kPredicted)},
                     {"complete", plan.complete},    {"configurations", configurations}};
  // A machine's file may hold bytes that are no UTF-8: those are replaced.
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace tp::predict_tool
