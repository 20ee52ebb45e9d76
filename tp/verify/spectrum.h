// How far one training step can carry an error of the weights further.
//
// With X~ = [X 1], a feature's weights and bias w~ go from step to step by
//
//   w~ <- w~ - 2 s lr X~^T (X~ w~ - t) = A w~ + c,      A = I - 2 s lr X~^T X~
//
// A is symmetric, so an error e of w~ becomes one of at most ||A|| ||e|| in the 2-norm, and ||A||
// is the largest |1 - 2 s lr v| over the eigenvalues v of X~^T X~: at most 1 where training is
// stable.
#pragma once

#include "tp/verify/panel.h"

namespace tp::verify {

// An upper bound on the largest eigenvalue of X~^T X~: the smaller of the square of X~'s Frobenius
// norm and the product of its 1-norm and infinity-norm. Costs one look at `x`.
double QuickEigenvalueBound(const MatrixView& x);

// A sharp one: ||G^(2^j)||_F^(1 / 2^j) for the smaller Gram matrix G of X~, rounding included, with
// j as large as the cost in multiply-adds allows. The quick one where G alone would cost more.
double EigenvalueBound(const MatrixView& x, double max_multiply_adds);

// A bound on ||A||, where no eigenvalue is above `eigenvalue_bound`; `rate` is 2 s lr.
double GrowthBound(double rate, double eigenvalue_bound);

}  // namespace tp::verify
