// Contraction: a product of two tensors by its letters, as matrix products.
//
// Each letter is in one of four groups, by which of a, b and c = a b have it:
//
//   batch   all three                 m   a and c
//   n       b and c                   k   what is summed: not c
//
// Letters of a group become one dimension where their strides allow it in every tensor that has
// them (the outer one's stride is the inner one's size times its stride). Then one dimension of m,
// one of n and one of k make the matrix product: those with which all three matrices lie along
// their rows or their columns, if there are such, and of these the ones with the most work. What is
// left of the groups are loops around it, batch and m and n first, k last. Nothing is copied: a
// kernel that can't take a matrix as it lies copies it, or says that it can't.
//
// So heads are dimensions: "bqe,grde -> bqgrd" is one product of [bq, e] and [e, grd], and
// "bqgrd,bkgd -> bgrqk" is b x g x r products of [q, d] and [d, k].
#pragma once

#include <optional>

#include "tp/core/status.h"
#include "tp/program/letters.h"
#include "tp/schedule/view.h"

namespace tp {

// What a launch of Action::kGemm is given; where a bias has letters of the first factor alone, that
// one is b, and the product its transpose. Each view has a dimension for each loop, of stride 0
// where it lacks that letter, and then those of its matrix. Where c has a loop's stride 0, c is the
// sum over the loop. A matrix product without loops has views of matrices.
struct Contraction {
  View a;  // [loops..., m, k]
  View b;  // [loops..., k, n]
  View c;  // [loops..., m, n]
  // What is added to a b: [loops..., n], or [loops..., m, n] where it has letters of m.
  std::optional<View> added;

  int loops() const { return c.rank() - 2; }
};

// `letters` has one term of two factors and may have a second one of one factor, which is added;
// views have the dimensions that their letters say. Errors: INVALID_ARGUMENT for other letters, and
// for more loops than a view can have, which takes strides under which next to no letters group.
StatusOr<Contraction> GroupLetters(const Letters& letters, const View& a, const View& b,
                                   const View& c, const View* added);

}  // namespace tp
