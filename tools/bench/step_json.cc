#include "tools/bench/step_json.h"

#include <algorithm>
#include <string>

namespace tp::bench {
namespace {

using Json = nlohmann::ordered_json;

Json PhasesOf(const std::vector<PhaseTime>& times) {
  Json phases = Json::object();
  for (const PhaseTime& phase : times) {
    phases[std::string(Name(phase.phase))] = {{"compute_ms", phase.compute_ms},
                                              {"communication_ms", phase.communication_ms},
                                              {"exposed_communication_ms", phase.exposed_ms}};
  }
  return phases;
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

}  // namespace

nlohmann::ordered_json EngineToJson(const BenchOptions& options) {
  return {{"backend", options.backend},
          {"tp", options.tp},
          {"dp", options.dp},
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
          {"tensor_cores", options.tensor_cores},
          {"peers", nccl::Name(options.peers)},
          {"sum_part_bytes", options.sum_part_bytes}};
}

nlohmann::ordered_json QuantilesToJson(const Quantiles& quantiles) {
  return {{"median", quantiles.median}, {"min", quantiles.min}, {"p99", quantiles.p99}};
}

nlohmann::ordered_json StepToJson(const MeasuredStep& step, const std::vector<double>& losses) {
  Json times = QuantilesToJson(step.steps.step);
  times["max"] = *std::max_element(step.steps.step_ms.begin(), step.steps.step_ms.end());
  Json allocated = Json::array(), scratch = Json::array();
  for (const AllocatedMemory& memory : step.allocated) {
    allocated.push_back(memory.buffers);
    scratch.push_back(memory.scratch);
  }
  Json json = {{"clock", Name(step.steps.clock)},
               {"step_ms", times},
               {"step_ms_all", step.steps.step_ms},
               {"memory_bytes", step.memory_bytes},
               {"memory_bytes_allocated", allocated},
               {"memory_bytes_without_reuse", step.memory_bytes_without_reuse},
               {"memory_bytes_of_scratch", scratch},
               {"products_ms", step.steps.products ? Json(step.steps.products->median) : Json()},
               {"losses", losses},
               {"phases", PhasesOf(step.steps.phases)},
               {"ops", OpsOf(step.steps)},
               {"ranks", RanksOf(step.ranks)},
               {"bytes", BytesOf(step.steps)},
               {"replica_defects", step.replica_defects}};
  if (step.steps.profile) json["profile"] = ProfileOf(*step.steps.profile);
  return json;
}

}  // namespace tp::bench
