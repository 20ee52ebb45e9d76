#include "tools/collective_bench/print.h"

#include <nlohmann/json.hpp>

#include "fmt/format.h"
#include "tools/io/table.h"

namespace tp::collective_bench {
namespace {

using Json = nlohmann::ordered_json;

std::string Head(const CollectiveOptions& options, const CollectiveResult& result) {
  const bench::BenchOptions& engine = options.engine;
  std::string host;
  for (const auto& [what, value] : result.host) host += fmt::format(", {} {}", what, value);
  std::string how = fmt::format("{} warm-up and {} timed steps", engine.warmup, engine.steps);
  if (engine.backend == "nccl") {
    how += engine.graph ? ", each one CUDA graph" : ", launched op by op";
  }
  return fmt::format(
      "collectives between {} ranks{}, {}\nbackend {}{}\ntimes are measured: of one, in a step of "
      "n after one another; #wrong is on all ranks\n\n",
      engine.tp, engine.dp > 1 ? fmt::format(", in {} groups at once", engine.dp) : "", how,
      engine.backend, host);
}

std::string Verdict(const CollectiveResult& result) {
  int64_t checked = 0, wrong = 0;
  bool bytes_ok = true;
  for (const Row& row : result.rows) {
    checked += row.checked;
    wrong += row.wrong;
    bytes_ok = bytes_ok && row.bytes_ok();
  }
  return fmt::format("\nVerdict: {} of {} elements wrong; {}.\n", wrong, checked,
                     bytes_ok ? "each collective moved exactly the bytes it must"
                              : "some moved other bytes than they must");
}

Json ConfigOf(const CollectiveOptions& options) {
  const bench::BenchOptions& engine = options.engine;
  Json kinds = Json::array();
  for (CollectiveKind kind : options.kinds) kinds.push_back(Name(kind));
  return {{"backend", engine.backend},
          {"collectives", kinds},
          {"tp", engine.tp},
          {"dp", engine.dp},
          {"dtype", Name(engine.dtype)},
          {"algorithm", sim::Name(engine.algorithm)},
          {"scheduler", engine.seeded ? "seeded" : "free"},
          {"min_bytes", options.min_bytes},
          {"max_bytes", options.max_bytes},
          {"factor", options.factor},
          {"per_step", options.per_step},
          {"steps", engine.steps},
          {"warmup", engine.warmup},
          {"graph", engine.graph},
          {"peers", nccl::Name(engine.peers)}};
}

Json ResultOf(const Row& row) {
  const Quantiles& time = row.time_us;
  return {{"collective", Name(row.which.kind)},
          {"algorithm", row.algorithm},
          {"members", row.which.members},
          {"bytes", row.which.bytes()},
          {"count", row.which.count()},
          {"dtype", Name(row.which.dtype)},
          {"in_place", row.in_place},
          {"per_step", row.which.per_step},
          {"time_us", {{"median", time.median}, {"min", time.min}, {"p99", time.p99}}},
          {"algbw_gbps", row.algbw_gbps},
          {"busbw_gbps", row.busbw_gbps},
          {"wrong", row.wrong},
          {"checked", row.checked},
          {"moved_bytes", row.moved_bytes},
          {"algorithm_bytes", row.algorithm_bytes},
          {"contract_bytes", row.contract_bytes},
          {"ok", row.ok()}};
}

}  // namespace

std::string Render(const CollectiveOptions& options, const CollectiveResult& result) {
  using io::Align;
  io::Table table({{"collective", Align::kLeft},
                   {"algorithm", Align::kLeft},
                   {"in place", Align::kLeft},
                   {"bytes"},
                   {"count"},
                   {"type", Align::kLeft},
                   {"n"},
                   {"time µs"},
                   {"min"},
                   {"algbw GB/s"},
                   {"busbw GB/s"},
                   {"#wrong"},
                   {"moved"},
                   {"contract"},
                   {"", Align::kLeft}});
  for (const Row& row : result.rows) {
    table.AddRow({std::string(Name(row.which.kind)), row.algorithm, row.in_place ? "yes" : "no",
                  std::to_string(row.which.bytes()), std::to_string(row.which.count()),
                  std::string(Name(row.which.dtype)), std::to_string(row.which.per_step),
                  fmt::format("{:.2f}", row.time_us.median), fmt::format("{:.2f}", row.time_us.min),
                  fmt::format("{:.2f}", row.algbw_gbps), fmt::format("{:.2f}", row.busbw_gbps),
                  std::to_string(row.wrong), std::to_string(row.moved_bytes),
                  std::to_string(row.contract_bytes),
                  row.bytes_ok()
                      ? "exact"
                      : fmt::format("WRONG BYTES: {} by the algorithm", row.algorithm_bytes)});
  }
  return Head(options, result) + table.Render() + Verdict(result);
}

std::string ToJson(const CollectiveOptions& options, const CollectiveResult& result) {
  Json host = Json::object();
  for (const auto& [what, value] : result.host) host[what] = value;
  Json results = Json::array();
  for (const Row& row : result.rows) results.push_back(ResultOf(row));
  const Json json = {
      {"config", ConfigOf(options)}, {"host", host}, {"results", results}, {"ok", result.ok()}};
  // Text from outside (a host's name, say) may hold bytes that are no UTF-8: those are replaced.
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace tp::collective_bench
