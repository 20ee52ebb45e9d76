#include "tools/verify/invariant.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <optional>
#include <string>

#include "tools/bench/run.h"

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

StatusOr<InvariantResult> RunInvariant(Backend& backend, const bench::BenchOptions& engine,
                                       const verify::LinearProblem& problem) {
  InvariantResult result;
  std::optional<verify::Observed> first;
  const bench::TrainingData data = bench::DataOf(problem, verify::Lane::kBounded);
  bench::BenchOptions options = engine;
  options.sum_order = SumOrder::kInvariant;
  options.verify = bench::VerifyMode::kOff;
  for (int tp : kInvariantTp) {
    options.tp = tp;
    const Status possible = backend.Check(tp * options.dp, options.dtype);
    if (!possible.ok()) {
      const bool nothing_to_compare = result.runs.empty() || result.runs.back().tp == 1;
      if (nothing_to_compare) return possible.WithContext("the invariant lane");
      result.not_run.push_back({.tp = tp, .why = std::string(possible.message())});
      continue;
    }
    TP_ASSIGN_OR_RETURN(const bench::BenchResult ran, bench::RunBench(backend, options, data));
    for (const bench::ModeResult& mode : ran.modes) {
      if (!first) first = mode.observed;
      result.runs.push_back(
          {.tp = tp, .mode = mode.mode, .different = DifferentBits(*first, mode.observed)});
    }
  }
  return result;
}

}  // namespace tp::verifier
