// Error bounds of sums of products: how far any correct implementation can be from the exact value.
//
// Sources: those of tp/core/roundoff.h. Nothing here is a tolerance: every number follows from the
// element type, the length of the sum, the number of shards and the depth of the reduction.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "tp/core/dtype.h"
#include "tp/core/roundoff.h"
#include "tp/core/status.h"
#include "tp/core/sum_order.h"

namespace tp::verify {

using tp::Gamma;
using tp::Lambda;
using tp::ProbabilisticGamma;
using tp::StoreRoundoff;
using tp::UnderflowUnit;

// The chance that one verification of a correct run raises a false alarm. One in 10^9 means that
// nobody sees one; a smaller risk costs next to nothing, because lambda grows with its logarithm.
inline constexpr double kRisk = 1e-9;

// Tensor cores truncate where IEEE arithmetic rounds to nearest, so an addition in fp32 can be off
// by twice as much, always to the same side: no probabilistic bound then.
inline constexpr double kTensorCoreRoundoff = 0x1p-23;

// tf32 keeps 10 bits of an fp32 operand's fraction, and matrix units drop the others rather than
// round them.
inline constexpr double kTf32Roundoff = 0x1p-10;

// How W [out_features, in_features] lies on the tp axis.
enum class Mode {
  kRow,     // its rows are sharded: Y is gathered, dX is a sum over tp
  kColumn,  // its columns are sharded: Y is a sum over tp, dX is gathered
};
std::string_view Name(Mode mode);  // "row", "column"

// The arithmetic of the implementation that is verified.
//
// A depth is the number of additions that a partial sum goes through at most while the sums of P
// ranks become one. P - 1, the default, holds for every order (and is a ring's or a direct
// reduction's own); a balanced tree and recursive halving have ceil(log2 P). In the invariant sum
// order (tp/core/sum_order.h) neither the ranks nor these depths matter: every contraction is
// kSumBlocks sums that meet in the accumulator along one tree, and is rounded to `dtype` once.
struct NumericModel {
  DType dtype = DType::kFloat32;
  Mode mode = Mode::kRow;
  int tp = 1;
  int dp = 1;
  int tp_depth = 0;
  int dp_depth = 0;
  double accumulator_roundoff = 0x1p-24;
  SumOrder sum_order = SumOrder::kFast;
  double operand_roundoff = 0;  // of what a matrix unit does to each operand (kTf32Roundoff), or 0
  bool probabilistic = true;    // false: matrix products get the deterministic gamma alone, as on
                                // tensor cores
};

// The model of `dtype` with IEEE accumulators (fp64 for fp64, else fp32) and depths P - 1.
NumericModel MakeModel(DType dtype, Mode mode, int tp, int dp);

// Errors: an axis below 1, a negative depth, a roundoff outside (0, 1) (the operands' may be 0).
Status Validate(const NumericModel& model);

// ceil(log2 parts).
int BalancedDepth(int parts);

// "column mode, bf16, tp 2 (depth 1), dp 1, accumulator 2^-24, probabilistic": for reports.
std::string ToString(const NumericModel& model);

// A sum of products that `parts` ranks accumulate a share each of, round to `dtype` (which costs
// nothing where that is the accumulator's type) and reduce in `dtype`.
struct Contraction {
  int64_t terms = 0;  // the longest share
  int parts = 1;
  int depth = 0;  // additions between ranks
  DType dtype = DType::kFloat32;
  double accumulator_roundoff = 0x1p-24;
  double operand_roundoff = 0;
};

// |computed - exact| <= E + reduce (S + E) + absolute, where E = accumulate |A||B| + the error that
// comes in with the operands, and S is the sum over the ranks of |their exact shares| <= |A||B|.
struct ContractionError {
  double accumulate = 0;  // gamma of the share, in the accumulator
  double reduce = 0;      // gamma of the store and the reduction, in dtype
  double absolute = 0;    // what underflow adds

  // (1 + accumulate)(1 + reduce) - 1: the factor tau with which |computed - exact| <= tau |A||B|.
  double Tau() const { return accumulate + reduce + accumulate * reduce; }
};

// The smaller of the deterministic and the probabilistic gamma, or the first alone where `lambda`
// is not positive.
ContractionError ErrorOf(const Contraction& contraction, double lambda);

}  // namespace tp::verify
