// What the reverse pass makes whole, so that sums keep the invariant order (tp/core/sum_order.h).
#pragma once

#include <map>
#include <utility>
#include <vector>

#include "tp/core/status.h"
#include "tp/program/program.h"

namespace tp {

class WholeTerms {
 public:
  // Of a program that outlives this.
  explicit WholeTerms(Program& program) : program_(program) {}

  // The operands of an op that is about to be appended. In the invariant order, what it would sum
  // of parts that lie on several ranks, but for the letter that its tree runs along, each rank sums
  // by itself: its operands are made whole. In the fast order they are `inputs`.
  StatusOr<std::vector<ValueId>> Of(const OpDef& def, std::vector<ValueId> inputs,
                                    const Attributes& attributes);

 private:
  StatusOr<ValueId> Whole(ValueId id, Axis axis);

  Program& program_;
  std::map<std::pair<ValueId, Axis>, ValueId> whole_;  // by shard
};

}  // namespace tp
