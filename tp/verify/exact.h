// The exact lane: problems that leave no room for rounding, so that the tolerance is zero.
//
// Inputs are integers, the learning rate and the loss scale powers of two. If every number in a sum
// is a multiple of a power of two g, and the sum of the absolute values is at most 2^p g, then
// every partial sum is a number of p bits: it is exact in any order, over any number of ranks. p is
// the precision of the element type, in which partial sums travel between ranks (24 for fp32, 53
// for fp64, 8 for bf16, 11 for fp16). NVIDIA's nccl-tests checks reductions by such inputs.
#pragma once

#include <cstdint>

#include "tp/core/dtype.h"
#include "tp/core/status.h"
#include "tp/verify/reference.h"
#include "tp/verify/sample.h"

namespace tp::verify {

// Proves, on the data, that nothing in the sample needs rounding, whatever the mode, tp and dp: Y,
// dX, dW and db, each step's update, and the losses if the sample is full.
// Errors: FAILED_PRECONDITION that names the quantity which is not exact.
Status CheckExact(const LinearProblem& problem, const Sample& sample);

// Whether s * sum (y - targets)^2 is exact in the accumulator's type.
bool LossIsExact(const LinearProblem& problem, const HostTensor& y);

struct ExactSpec {
  int64_t tokens = 0;
  int64_t in_features = 0;
  int64_t out_features = 0;
  DType dtype = DType::kFloat32;
  int steps = 1;
  uint64_t seed = 0;
  int tp = 1;  // of the run that will be verified: a sample holds the borders of its shards
  int dp = 1;
};

// Random integers, as dense as can be exact; every weight and bias is non-zero. `sample` says what
// CheckExact is asked about each attempt.
// Errors: sizes below 1, or no such problem: the narrow types hold few steps.
StatusOr<LinearProblem> MakeExactProblem(const ExactSpec& spec, const SampleOptions& sample);

}  // namespace tp::verify
