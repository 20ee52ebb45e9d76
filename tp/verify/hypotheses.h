// The hypotheses that a diagnosis tries on the elements of a tensor, and on the losses.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tp/core/mesh.h"
#include "tp/verify/diagnose.h"

namespace tp::verify {

// What an element would be, and how near the observed one must then be to it.
struct Guess {
  double value;
  double bound;
};

struct Hypothesis {
  std::string cause;
  // Of the element at this place of the expected elements; none where it can't be told.
  std::function<std::optional<Guess>(size_t place)> guess;
};

// Of a tensor, likeliest first.
std::vector<Hypothesis> TensorHypotheses(const DiagnosisInput& input);

// Of the losses of all steps.
std::vector<Hypothesis> LossHypotheses(const DiagnosisInput& input);

// The exact share of one rank in element `index` of a sum over ranks, bias aside; the ranks of the
// other axis take no part. None where the quantity is no such sum, or the observed Y is missing.
std::optional<double> ShareOf(const DiagnosisInput& input, int64_t index, int part);

// The axis over which the quantity is a sum of shares, if it is cut at all.
std::optional<Axis> SummedOver(const DiagnosisInput& input);

}  // namespace tp::verify
