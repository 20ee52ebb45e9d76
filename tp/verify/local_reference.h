// LocalReference: what each op of a Program should have given, from the inputs that were observed.
//
// An op's reference (tp/program/reference.h) is run in BoundedNumbers on the unsharded inputs, as
// they were read; the placements say what the ranks rounded beside: sums that are cut into shares,
// shares that are stored, sums that a redistribute completes. A redistribute is an op like any
// other: what it gives is its input. An input that could not be read is what its own op should have
// given, with its bound.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "tp/core/bounded.h"
#include "tp/core/mesh.h"
#include "tp/core/status.h"
#include "tp/program/program.h"
#include "tp/verify/logical_value.h"

namespace tp::verify {

// The arithmetic of the implementation, where it is not IEEE's in the accumulator of each type.
struct Arithmetic {
  double product_roundoff = 0;   // of the accumulator of matrix products; 0: its type's own
  double operand_roundoff = 0;   // of what a matrix unit does to each operand of a product
  bool probabilistic = true;     // of matrix products; false on matrix units, which truncate
  bool flushes_to_zero = false;  // results below the normal range may become 0
  // Of its elementary functions in fp32 (tp/core/elementary.h); null: not known.
  const FunctionErrors* functions = nullptr;
};

class LocalReference {
 public:
  // `program` verifies, `observed` has its sources; all outlive the reference.
  LocalReference(const Program& program, const Mesh& mesh, const ObservedValues& observed,
                 const Arithmetic& arithmetic);

  // The same with something else in the place of observed values.
  LocalReference With(ValueId id, LogicalValue value) const;
  LocalReference With(std::map<ValueId, LogicalValue> values) const;
  // The same with other attributes for the op that writes a value.
  LocalReference WithAttributes(ValueId id, Attributes attributes) const;

  // The same where the op that writes a value finds `extra` zeros behind the last index of a letter
  // that is not among the value's.
  LocalReference WithPadding(ValueId id, char letter, int64_t extra) const;

  // Elements (row-major) of a value as its op's reference gives them, and how far what is observed
  // there may be from them. Of sources: what is observed.
  std::vector<BoundedNumber> Expect(ValueId id, const std::vector<int64_t>& indices) const;

  bool IsObserved(ValueId id) const { return observed_.values[id].has_value(); }
  const LogicalValue& Observed(ValueId id) const;

  // How many points of its letters an op runs over for one element of this value.
  double PointsOf(ValueId id) const;

  const Program& program() const { return program_; }
  const Mesh& mesh() const { return mesh_; }
  const Op& OpOf(ValueId id) const { return program_.ops()[definitions_[id].first]; }
  int OpIndexOf(ValueId id) const { return definitions_[id].first; }

 private:
  // As operands: what is observed, else expected.
  std::vector<BoundedNumber> Load(ValueId id, const std::vector<int64_t>& indices) const;
  std::vector<BoundedNumber> Redistributed(const Op& op, const std::vector<int64_t>& indices) const;
  std::vector<BoundedNumber> Computed(const Op& op, size_t output,
                                      const std::vector<int64_t>& indices) const;
  // `number` as the ranks store it; shares of it have the sizes of those observed.
  BoundedNumber Stored(BoundedNumber number, ValueId id, int64_t index) const;
  bool IsShared(ValueId id) const;
  Rounding RoundingFor(const Op& op, size_t output, const Letters& letters,
                       const std::map<char, int64_t>& sizes) const;

  const Program& program_;
  const Mesh& mesh_;
  const ObservedValues& observed_;
  Arithmetic arithmetic_;
  double roundings_ = 1;                             // of the whole step
  std::vector<std::pair<int, size_t>> definitions_;  // by value: op and output
  std::map<ValueId, std::shared_ptr<const LogicalValue>> instead_;
  std::map<int, Attributes> told_instead_;          // by op
  std::map<int, std::pair<char, int64_t>> padded_;  // by op: a letter, and how many zeros
};

}  // namespace tp::verify
