#include "tools/bench/ratio.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace tp::bench {
namespace {

double MedianOf(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

}  // namespace

Interval MedianInterval(std::vector<double> values, double miss) {
  CHECK(!values.empty());
  std::sort(values.begin(), values.end());
  const auto n = static_cast<int>(values.size());
  int taken = 0;
  // P(Binomial(n, 1/2) < taken), and the probability of `taken`.
  double below = 0, of_taken = std::pow(0.5, n);
  while (taken < n / 2 && 2 * (below + of_taken) <= miss) {
    below += of_taken;
    of_taken *= static_cast<double>(n - taken) / (taken + 1);
    ++taken;
  }
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (taken == 0) return {-kInfinity, MedianOf(values), kInfinity};
  return {values[taken - 1], MedianOf(values), values[n - taken]};
}

std::vector<double> BlockRatios(const std::vector<double>& a, const std::vector<double>& b,
                                const std::vector<int>& block_sizes) {
  std::vector<double> ratios;
  size_t begin = 0;
  for (int size : block_sizes) {
    const size_t end = begin + static_cast<size_t>(size);
    if (end > a.size() || end > b.size()) break;
    const auto block = [begin, end](const std::vector<double>& all) {
      return MedianOf({all.begin() + static_cast<std::ptrdiff_t>(begin),
                       all.begin() + static_cast<std::ptrdiff_t>(end)});
    };
    if (block(b) > 0) ratios.push_back(block(a) / block(b));
    begin = end;
  }
  return ratios;
}

bool Distinguishable(const Interval& ratio) { return ratio.low > 1 || ratio.high < 1; }

}  // namespace tp::bench
