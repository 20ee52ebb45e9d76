#include "tools/collectives/print.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

#include "fmt/format.h"
#include "tools/bench/facts_json.h"
#include "tools/io/table.h"

namespace tp::collective_bench {
namespace {

using Json = nlohmann::ordered_json;

// Exactly what its algorithm says; where that is more than the least, how much more.
std::string Sent(const Row& row) {
  if (row.moved_bytes == row.contract_bytes) return "exact";
  return fmt::format(
      "x{:.3g}", static_cast<double>(row.moved_bytes) / static_cast<double>(row.contract_bytes));
}

// With head and verdict, within about 30 lines.
constexpr int64_t kRowsOfAScreen = 25;

// Of the table, within 100 columns.
constexpr std::string_view kLine =
    "{:<14} {:<12} {:<5} {:>10} {:>9} {:>9} {:>10} {:>10} {:>6} {}\n";

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
          {"clock", Name(row.clock)},
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

std::string RenderHead(const CollectiveOptions& options, const bench::Machine& machine,
                       const CollectiveResult& result) {
  const bench::BenchOptions& engine = options.engine;
  std::string how = fmt::format("{} warm-up and {} timed steps", engine.warmup, engine.steps);
  if (engine.backend == "nccl") {
    how += engine.graph ? ", each one CUDA graph" : ", launched op by op";
  }
  std::string where =
      fmt::format("on {}", machine.processor.empty() ? machine.name : machine.processor);
  if (machine.load >= 0) where += fmt::format(", load {:.2f}", machine.load);
  where += fmt::format(", backend {}", engine.backend);
  for (const auto& [what, value] : result.host) where += fmt::format(", {} {}", what, value);
  const std::string groups =
      engine.dp > 1 ? fmt::format(", in {} groups at once", engine.dp) : std::string();
  std::string text = fmt::format("collectives between {} ranks{}, {}, {}\n{}\n", engine.tp, groups,
                                 Name(engine.dtype), how, io::Wrap(where, 2));
  text +=
      "times are measured: of one, in a step of some after one another; #wrong is on all ranks\n\n";
  return text + fmt::format(fmt::runtime(kLine), "collective", "algorithm", "place", "bytes",
                            "time µs", "min", "algbw GB/s", "busbw GB/s", "#wrong", "moved");
}

std::string RenderRow(const Row& row) {
  return fmt::format(
      fmt::runtime(kLine), Name(row.which.kind), row.algorithm, row.in_place ? "in" : "out",
      row.which.bytes(), fmt::format("{:.2f}", row.time_us.median),
      fmt::format("{:.2f}", row.time_us.min), fmt::format("{:.2f}", row.algbw_gbps),
      fmt::format("{:.2f}", row.busbw_gbps), row.wrong,
      row.bytes_ok()
          ? Sent(row)
          : fmt::format("WRONG BYTES: {}, must be {}", row.moved_bytes, row.algorithm_bytes));
}

bool IsShown(const CollectiveOptions& options, int64_t nth) {
  const auto kinds = static_cast<int64_t>(options.kinds.size());
  const auto sizes = static_cast<int64_t>(options.Sizes().size());
  if (options.engine.verbose || kinds * sizes <= kRowsOfAScreen) return true;
  const int64_t shown = std::max<int64_t>(kRowsOfAScreen / kinds, 1);
  const int64_t every = (sizes + shown - 1) / shown;
  return (sizes - 1 - nth) % every == 0;
}

std::string RenderVerdict(const CollectiveOptions& options, const CollectiveResult& result) {
  int64_t checked = 0, wrong = 0, hidden = 0;
  bool bytes_ok = true;
  const size_t sizes = options.Sizes().size();
  for (size_t i = 0; i < result.rows.size(); ++i) {
    const Row& row = result.rows[i];
    if (row.ok() && !IsShown(options, static_cast<int64_t>(i % sizes))) ++hidden;
    checked += row.checked;
    wrong += row.wrong;
    bytes_ok = bytes_ok && row.bytes_ok();
  }
  std::string text;
  if (hidden > 0) {
    text = fmt::format("{} more rows: --verbose shows them{}\n", hidden,
                       options.engine.json.empty() ? "" : ", and the file has them");
  }
  if (!result.complete) {
    text += fmt::format("\nInterrupted after {} of {} rows.\n", result.rows.size(),
                        options.kinds.size() * options.Sizes().size());
    if (result.rows.empty()) return text;
  }
  return text + fmt::format("\nVerdict: {} of {} elements wrong; {}.\n", wrong, checked,
                            bytes_ok ? "each collective moved exactly the bytes it must"
                                     : "some moved other bytes than they must");
}

std::string ToJson(const CollectiveOptions& options, const bench::RunFacts& run,
                   const CollectiveResult& result) {
  Json results = Json::array();
  for (const Row& row : result.rows) results.push_back(ResultOf(row));
  const Json json = {
      {"config", ConfigOf(options)},  {"host", bench::HostToJson(run.machine, result.host)},
      {"run", bench::RunToJson(run)}, {"complete", result.complete},
      {"results", results},           {"ok", result.complete && result.ok()}};
  // Text from outside (a host's name, say) may hold bytes that are no UTF-8: those are replaced.
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace tp::collective_bench
