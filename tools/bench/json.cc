#include "tools/bench/json.h"

#include <cmath>

#include "tools/bench/facts_json.h"
#include "tools/bench/report_json.h"
#include "tools/bench/step_json.h"

namespace tp::bench {
namespace {

using Json = nlohmann::ordered_json;

Json ConfigOf(const BenchOptions& options) {
  Json modes = Json::array();
  for (LinearMode mode : options.modes) modes.push_back(Name(mode));
  Json config = EngineToJson(options);
  config["modes"] = modes;
  config["tokens"] = options.tokens;
  config["in_features"] = options.in_features;
  config["out_features"] = options.out_features;
  return config;
}

// "row_over_column": of the medians; low and high are null where there are too few blocks.
Json RatioOf(const BenchResult& result) {
  const Interval& ratio = *result.ratio;
  const auto finite = [](double value) { return std::isfinite(value) ? Json(value) : Json(); };
  return {{"median", ratio.median},        {"low", finite(ratio.low)},
          {"high", finite(ratio.high)},    {"miss", kMiss},
          {"blocks", result.ratio_blocks}, {"distinguishable", Distinguishable(ratio)}};
}

Json ResultOf(const BenchOptions& options, const BenchResult& result, const ModeResult& mode) {
  const double flops = FlopsPerStep(options) / (mode.steps.step.median / 1e3);
  Json json = StepToJson(mode, mode.observed.losses);
  json["mode"] = Name(mode.mode);
  json["flops_per_second"] = flops;
  json["share_of_peak"] = result.peak ? Json(flops / *result.peak) : Json();
  json["speedup_over_tp1"] =
      result.tp1 ? Json(result.tp1->median / mode.steps.step.median) : Json();
  json["equivalence"] = mode.equivalence ? ReportToJson(*mode.equivalence) : Json();
  if (mode.step_by_step) json["step_by_step"] = ReportToJson(*mode.step_by_step);
  return json;
}

}  // namespace

std::string ToJson(const BenchOptions& options, const RunFacts& run, const BenchResult& result) {
  Json results = Json::array();
  for (const ModeResult& mode : result.modes) results.push_back(ResultOf(options, result, mode));
  Json json = {{"config", ConfigOf(options)},
               {"host", HostToJson(run.machine, result.host)},
               {"run", RunToJson(run)},
               {"complete", result.complete},
               {"results", results}};
  if (result.ratio) json["row_over_column"] = RatioOf(result);
  if (result.peak) json["peak"] = {{"flops_per_second", *result.peak}, {"source", "measured"}};
  if (result.tp1) json["tp1"] = {{"step_ms", QuantilesToJson(*result.tp1)}};
  if (result.between_modes) json["row_against_column"] = ReportToJson(*result.between_modes);
  json["ok"] = result.complete && result.ok();
  json["outcome"] = OutcomeOfRun(result.complete, result.outcome());
  // Text from outside (a host's name, say) may hold bytes that are no UTF-8: those are replaced.
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace tp::bench
