// Whether one mode is faster than the other, and by how much: the rule of
// tools/observations/decide.py.
//
// Measured in turns, each block of steps of one mode has one of the other beside it. A ratio is
// formed within a pair of blocks, so that what drifts from block to block cancels. Two order
// statistics of these ratios bound their median: the interval of the sign test, which asks for no
// distribution. (W. R. Thompson, On confidence ranges for the median and other expectation
// distributions for populations of unknown distribution form, 1936.)
#pragma once

#include <vector>

namespace tp::bench {

inline constexpr double kMiss = 0.05;  // the probability with which the interval misses the median

struct Interval {
  double low = 0;  // -infinity and infinity where there are too few values for a bounded one
  double median = 0;
  double high = 0;
};

// Of the median of `values`, at least one: misses it with a probability of at most `miss`.
Interval MedianInterval(std::vector<double> values, double miss = kMiss);

// Of what was measured in blocks of `block_sizes` steps in turn: of each whole block, the median
// step of `a` over that of `b`. Empty where there is no whole block.
std::vector<double> BlockRatios(const std::vector<double>& a, const std::vector<double>& b,
                                const std::vector<int>& block_sizes);

// Neither 1 nor the other side of it is within the interval.
bool Distinguishable(const Interval& ratio);

}  // namespace tp::bench
