#include "tp/verify/sample.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "tp/core/random.h"
#include "tp/core/shard_geometry.h"

namespace tp::verify {
namespace {

// Multiply-adds of a feature in the first step, or of a row: value and bound of two contractions.
constexpr double kProducts = 4;
// Of a feature in a later step: also what the weights' own error makes of both.
constexpr double kLaterProducts = 6;

// `count` numbers of [0, size) at least: the ends, the borders of `parts` shards, random ones.
std::vector<int64_t> Choose(int64_t size, int parts, int64_t count, uint64_t seed,
                            uint64_t stream) {
  if (count >= size) {
    std::vector<int64_t> all(size);
    std::iota(all.begin(), all.end(), int64_t{0});
    return all;
  }
  std::set<int64_t> chosen = {0, size - 1};
  const ShardGeometry geometry(size, parts);
  for (int part = 1; part < parts; ++part) {
    const int64_t border = geometry.Offset(part);
    chosen.insert(std::min(border, size - 1));
    chosen.insert(std::max<int64_t>(border - 1, 0));
  }
  // A panel costs the same full or not.
  const int64_t at_least = static_cast<int64_t>(chosen.size());
  const int64_t rounded = (std::max(count, at_least) + kPanelWidth - 1) / kPanelWidth * kPanelWidth;
  const int64_t wanted = std::min(rounded, size);
  const RandomTensor random(seed, stream);
  for (uint64_t draw = 0; static_cast<int64_t>(chosen.size()) < wanted; ++draw) {
    const uint64_t bits = (uint64_t{random.Bits(2 * draw)} << 32) | random.Bits(2 * draw + 1);
    chosen.insert(static_cast<int64_t>(bits % static_cast<uint64_t>(size)));
  }
  return {chosen.begin(), chosen.end()};
}

}  // namespace

Sample ChooseSample(const LinearProblem& problem, int tp, int dp, const SampleOptions& options) {
  const int64_t m = problem.tokens();
  const int64_t k = problem.in_features();
  const int64_t n = problem.out_features();
  const double budget = options.max_multiply_adds / 2;
  const double feature_cost =
      (kProducts + kLaterProducts * (problem.steps - 1)) * static_cast<double>(m * k);
  const double row_cost = kProducts * static_cast<double>(n * k);
  const auto affordable = [&](double cost, int64_t all) {
    return options.full ? all : static_cast<int64_t>(std::min<double>(all, budget / cost));
  };
  Sample sample;
  sample.features = Choose(n, tp, affordable(feature_cost, n), options.seed, 1);
  sample.rows = Choose(m, dp, affordable(row_cost, m), options.seed, 2);
  sample.full = static_cast<int64_t>(sample.features.size()) == n &&
                static_cast<int64_t>(sample.rows.size()) == m;
  return sample;
}

}  // namespace tp::verify
