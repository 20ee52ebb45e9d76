#include "tools/bench/json.h"

#include <algorithm>
#include <cmath>

#include "tools/bench/facts_json.h"
#include "tools/bench/report_json.h"

namespace tp::bench {
namespace {

using Json = nlohmann::ordered_json;

Json ConfigOf(const BenchOptions& options) {
  Json modes = Json::array();
  for (LinearMode mode : options.modes) modes.push_back(Name(mode));
  return {{"backend", options.backend},
          {"modes", modes},
          {"tp", options.tp},
          {"dp", options.dp},
          {"tokens", options.tokens},
          {"in_features", options.in_features},
          {"out_features", options.out_features},
          {"dtype", DTypeName(options)},
          {"steps", options.steps},
          {"warmup", options.warmup},
          {"lr", options.learning_rate},
          {"seed", options.seed},
          {"reduction", Name(options.sum_order)},
          {"algorithm", sim::Name(options.algorithm)},
          {"scheduler", options.seeded ? "seeded" : "free"},
          {"scheduler_seed", options.scheduler_seed},
          {"graph", options.graph},
          {"gemm_search", options.gemm_search},
          {"peers", nccl::Name(options.peers)},
          {"sum_part_bytes", options.sum_part_bytes}};
}

Json PhasesOf(const std::vector<PhaseTime>& times) {
  Json phases = Json::object();
  for (const PhaseTime& phase : times) {
    phases[std::string(Name(phase.phase))] = {{"compute_ms", phase.compute_ms},
                                              {"communication_ms", phase.communication_ms},
                                              {"exposed_communication_ms", phase.exposed_ms}};
  }
  return phases;
}

Json QuantilesToJson(const Quantiles& quantiles) {
  return {{"median", quantiles.median}, {"min", quantiles.min}, {"p99", quantiles.p99}};
}

Json ProfileOf(const ProfileReport& profile) {
  return {{"step_ms", QuantilesToJson(profile.step)},
          {"steps", profile.steps},
          {"steps_traced", profile.traced},
          {"overhead", profile.overhead},
          {"phases", PhasesOf(profile.phases)}};
}

Json OpsOf(const StepReport& steps) {
  Json ops = Json::array();
  for (const OpTime& op : steps.ops) {
    ops.push_back({{"name", op.name},
                   {"action", Name(op.action)},
                   {"phase", Name(op.phase)},
                   {"time_us", op.time_us}});
  }
  return ops;
}

Json RanksOf(const RankReport& ranks) {
  Json ops = Json::array();
  for (const OpAcrossRanks& op : ranks.ops) {
    ops.push_back({{"name", op.name},
                   {"action", Name(op.action)},
                   {"phase", Name(op.phase)},
                   {"time_us", op.time_us},
                   {"done_us", op.done_us},
                   {"bytes_sent", op.bytes_sent},
                   {"longest_over_shortest", op.longest_over_shortest},
                   {"done_spread_us", op.done_spread_us}});
  }
  return {{"step_ms", ranks.step_ms}, {"one_clock", ranks.one_clock}, {"ops", ops}};
}

Json BytesOf(const StepReport& steps) {
  Json collectives = Json::array();
  for (const CollectiveReport& collective : steps.collectives) {
    collectives.push_back({{"name", collective.contract.name},
                           {"kind", Name(collective.contract.kind)},
                           {"axis", Name(collective.contract.axis)},
                           {"phase", Name(collective.contract.phase)},
                           {"members", collective.members},
                           {"algorithm", collective.algorithm},
                           {"array_bytes", collective.array_bytes},
                           {"moved_bytes", collective.bytes_sent},
                           {"algorithm_bytes", collective.algorithm_bytes},
                           {"contract_bytes", collective.contract.bytes},
                           {"time_us", collective.time_us},
                           {"algbw_gbps", collective.algbw_gbps},
                           {"busbw_gbps", collective.busbw_gbps},
                           {"ok", collective.ok()}});
  }
  return {{"ok", steps.bytes_ok}, {"collectives", collectives}};
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
  Json step = QuantilesToJson(mode.steps.step);
  step["max"] = *std::max_element(mode.steps.step_ms.begin(), mode.steps.step_ms.end());
  Json json = {
      {"mode", Name(mode.mode)},
      {"clock", Name(mode.steps.clock)},
      {"step_ms", step},
      {"step_ms_all", mode.steps.step_ms},
      {"flops_per_second", flops},
      {"share_of_peak", result.peak ? Json(flops / *result.peak) : Json()},
      {"speedup_over_tp1", result.tp1 ? Json(result.tp1->median / mode.steps.step.median) : Json()},
      {"memory_bytes", mode.memory_bytes},
      {"memory_bytes_without_reuse", mode.memory_bytes_without_reuse},
      {"products_ms", mode.steps.products ? Json(mode.steps.products->median) : Json()},
      {"losses", mode.observed.losses},
      {"phases", PhasesOf(mode.steps.phases)},
      {"ops", OpsOf(mode.steps)},
      {"ranks", RanksOf(mode.ranks)},
      {"bytes", BytesOf(mode.steps)},
      {"replica_defects", mode.replica_defects}};
  if (mode.steps.profile) json["profile"] = ProfileOf(*mode.steps.profile);
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
  json["outcome"] = Name(result.outcome());
  // Text from outside (a host's name, say) may hold bytes that are no UTF-8: those are replaced.
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace tp::bench
