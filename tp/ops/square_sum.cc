#include "tp/ops/all.h"

namespace tp {
namespace {

struct SquareSumReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    SumOf<T> sum;
    for (const T& x : call.in[0]) sum.Add(x * x);
    call.out[0][0] = sum.Total();
  }
};

}  // namespace

// The sum of all squares, a scalar: of which the norm of a gradient is made.
constinit const OpDef kSquareSum = {
    .name = "square_sum",
    .letters = "* -> ",
    .types = {TypeRule::kAccumulator},
    .advice = "a square is not linear, so it needs whole values; redistribute first",
    .no_reverse = "it measures gradients, and nothing is differentiated through those",
    .reference = ReferenceOf<SquareSumReference>()};

}  // namespace tp
