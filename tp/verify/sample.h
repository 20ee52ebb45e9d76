// Which output features and which tokens of a large problem are verified.
//
// Whole features of Y, dW, db, W and b, and whole rows of Y and dX: first and last ones, those on
// both sides of every border between shards, and a random draw of the rest. The draw is
// counter-based: the same options give the same sample.
#pragma once

#include <cstdint>
#include <vector>

#include "tp/verify/reference.h"

namespace tp::verify {

struct SampleOptions {
  // Everything, whatever it costs.
  bool full = false;
  // About how many multiply-adds the reference and its bounds may take; half of them for features,
  // half for rows. The borders are taken even where they alone cost more.
  double max_multiply_adds = 1e10;
  uint64_t seed = 0;
};

struct Sample {
  std::vector<int64_t> features;  // in [0, N), ascending
  std::vector<int64_t> rows;      // in [0, M), ascending
  bool full = false;              // all of both
};

Sample ChooseSample(const LinearProblem& problem, int tp, int dp, const SampleOptions& options);

}  // namespace tp::verify
