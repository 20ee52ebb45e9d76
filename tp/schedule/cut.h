// What cuts of a Schedule's ops have in common.
#pragma once

#include <cstdint>
#include <vector>

#include "tp/schedule/schedule.h"

namespace tp {

// Whether `op` reads or writes memory of `view`.
bool Touches(const ScheduledOp& op, const View& view);

// `length` rows of a product of matrices, from row `begin` on.
ScheduledOp RowsOfProduct(const ScheduledOp& product, int64_t begin, int64_t length);

// Elements of a packed view, in the order of memory.
View Part(const View& packed, int64_t begin, int64_t length);

// A collective of p members in p - 1 turns: in turn t each sends one block to the member t places
// behind it, so that no two send to the same one and a block is there as early as can be.
class Turns {
 public:
  // Of the group of `collective`, as `rank`, which is in it, sees them.
  Turns(const ScheduledOp& collective, int rank);

  int members() const { return static_cast<int>(collective_.group.size()); }
  int me() const { return me_; }
  int To(int turn) const { return (me_ + turn) % members(); }
  int From(int turn) const { return (me_ + members() - turn) % members(); }
  // The all_to_all of a turn, of which `sizes` has what each member sends, and this rank sends
  // `send` and gets `receive`.
  ScheduledOp Exchange(int turn, const std::vector<int64_t>& sizes, const View& send,
                       const View& receive) const;

 private:
  const ScheduledOp& collective_;
  int me_;
};

}  // namespace tp
