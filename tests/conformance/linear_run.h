// Runs of one linear layer's training on a backend, from a verifier's problem to what it observes.
#pragma once

#include <cstdint>
#include <string>

#include "tools/measure/train.h"
#include "tp/core/dtype.h"
#include "tp/core/mesh.h"
#include "tp/core/status.h"
#include "tp/core/sum_order.h"
#include "tp/layers/linear.h"
#include "tp/program/program.h"
#include "tp/runtime/backend.h"
#include "tp/verify/bounds.h"
#include "tp/verify/reference.h"
#include "tp/verify/report.h"

namespace tp::conformance {

struct LinearShape {
  int64_t tokens = 1;
  int64_t in_features = 1;
  int64_t out_features = 1;
};
std::string ToString(const LinearShape& shape);

// No size divides by another, or by a tp or dp above 1; and sizes so small that ranks are left
// without a part; and one beyond the small products that libraries treat apart.
inline constexpr LinearShape kUneven = {13, 23, 17};
inline constexpr LinearShape kTiny = {2, 3, 2};
inline constexpr LinearShape kLarger = {37, 67, 43};

// Uniform random numbers rounded to `dtype`: x and targets of magnitude 1, w and b of
// 1 / sqrt(in_features), as PyTorch draws them. A learning rate at which each update shows.
verify::LinearProblem RandomProblem(const LinearShape& shape, DType dtype, int steps,
                                    uint64_t seed);

struct LinearRun {
  Program program;
  TrainResult result;
  verify::Observed observed;
};

// The backend's errors.
StatusOr<LinearRun> RunLinear(Backend& backend, const Mesh& mesh,
                              const verify::LinearProblem& problem, LinearMode mode,
                              bool optimize = true, SumOrder sum_order = SumOrder::kFast);

// "" where both runs hold the same bits in every loss and tensor, else which differ.
std::string DifferentBits(const LinearRun& a, const LinearRun& b);

verify::NumericModel ModelOf(const verify::LinearProblem& problem, LinearMode mode,
                             const Mesh& mesh);

}  // namespace tp::conformance
