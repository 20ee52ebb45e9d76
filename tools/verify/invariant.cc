#include "tools/verify/invariant.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <optional>
#include <string>

#include "fmt/format.h"
#include "tools/bench/run.h"
#include "tools/io/table.h"

namespace tp::verifier {
namespace {

bool SameBits(const verify::Observed& a, const verify::Observed& b, verify::Quantity quantity) {
  if (quantity == verify::Quantity::kLoss) {
    return std::equal(a.losses.begin(), a.losses.end(), b.losses.begin(), b.losses.end(),
                      [](double left, double right) {
                        return std::bit_cast<uint64_t>(left) == std::bit_cast<uint64_t>(right);
                      });
  }
  const auto left = a.Of(quantity).bytes();
  const auto right = b.Of(quantity).bytes();
  return std::equal(left.begin(), left.end(), right.begin(), right.end());
}

// As many of the names as a line takes.
std::string Few(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < names.size(); ++i) {
    if (text.size() + names[i].size() > 60) {
      return fmt::format("{} and {} more", text, names.size() - i);
    }
    text += (text.empty() ? "" : ", ") + names[i];
  }
  return text;
}

}  // namespace

std::vector<verify::Quantity> DifferentBits(const verify::Observed& a, const verify::Observed& b) {
  std::vector<verify::Quantity> different;
  for (verify::Quantity quantity : verify::kAllQuantities) {
    if (!SameBits(a, b, quantity)) different.push_back(quantity);
  }
  return different;
}

bool InvariantResult::ok() const {
  return std::all_of(runs.begin(), runs.end(),
                     [](const InvariantRun& run) { return run.different.empty(); });
}

Status ForEachTp(const Backend& backend, const bench::BenchOptions& engine, InvariantResult& result,
                 const std::function<Status(const bench::BenchOptions& engine)>& run) {
  bench::BenchOptions options = engine;
  options.sum_order = SumOrder::kInvariant;
  for (int tp : kInvariantTp) {
    options.tp = tp;
    const Status possible = backend.Check(tp * options.dp, options.dtype);
    if (!possible.ok()) {
      const bool nothing_to_compare = result.runs.empty() || result.runs.back().tp == 1;
      if (nothing_to_compare) return possible.WithContext("the invariant lane");
      result.not_run.push_back({.tp = tp, .why = std::string(possible.message())});
      continue;
    }
    TP_RETURN_IF_ERROR(run(options));
  }
  return OkStatus();
}

StatusOr<InvariantResult> RunInvariant(Backend& backend, const bench::BenchOptions& engine,
                                       const verify::LinearProblem& problem) {
  InvariantResult result = {.compared = "", .runs = {}, .not_run = {}};
  for (verify::Quantity quantity : verify::kAllQuantities) {
    result.compared += fmt::format("{}{}", result.compared.empty() ? "" : ", ", Name(quantity));
  }
  std::optional<verify::Observed> first;
  const bench::TrainingData data = bench::DataOf(problem, verify::Lane::kBounded);
  bench::BenchOptions fast = engine;
  fast.verify = bench::VerifyMode::kOff;
  const auto run = [&](const bench::BenchOptions& options) -> Status {
    TP_ASSIGN_OR_RETURN(const bench::BenchResult ran, bench::RunBench(backend, options, data));
    for (const bench::ModeResult& mode : ran.modes) {
      if (!first) first = mode.observed;
      InvariantRun& one = result.runs.emplace_back();
      one.tp = options.tp;
      one.mode = Name(mode.mode);
      for (verify::Quantity quantity : DifferentBits(*first, mode.observed)) {
        one.different.emplace_back(Name(quantity));
      }
    }
    return OkStatus();
  };
  TP_RETURN_IF_ERROR(ForEachTp(backend, fast, result, run));
  return result;
}

std::string RenderRuns(const InvariantResult& result, bool verbose) {
  std::string text;
  if (result.ok() && !verbose) {
    text = "  " +
           io::Wrap(fmt::format("{} runs, tp {} to {}: the same bits in {}: ok", result.runs.size(),
                                result.runs.front().tp, result.runs.back().tp, result.compared),
                    /*indent=*/4, /*used=*/2) +
           '\n';
  } else {
    const bool modes = !result.runs.front().mode.empty();
    std::vector<io::Column> columns = {{"tp"}};
    if (modes) columns.push_back({"mode", io::Align::kLeft});
    columns.push_back({"same bits in", io::Align::kLeft});
    io::Table table(columns);
    for (const InvariantRun& run : result.runs) {
      std::vector<std::string> row = {std::to_string(run.tp)};
      if (modes) row.emplace_back(run.mode);
      row.push_back(run.different.empty() ? result.compared
                                          : "WRONG: all but " + Few(run.different));
      table.AddRow(row);
    }
    text = '\n' + table.Render();
  }
  for (const InvariantGap& gap : result.not_run) {
    text += io::Wrap(fmt::format("tp {}: not run: {}", gap.tp, gap.why), 2) + '\n';
  }
  return text;
}

}  // namespace tp::verifier
