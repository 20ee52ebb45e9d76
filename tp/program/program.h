// Program: a training step as a list of ops over sharded tensors.
//
// A value has a global shape, an element type and a placement on each mesh axis; it is written
// once, by one op. Shapes never depend on the number of ranks. Placements follow from the ops'
// letters (tp/program/letters.h), and the only op that changes one is kRedistribute, so the
// communication of a program is the list of its redistributes and nothing else.
//
// Its sum order says whether sums may be taken as is fastest, or along one tree that no number of
// ranks changes (tp/core/sum_order.h): of matrix products, of sums over rows, and of the
// redistributes that complete them.
//
// A Program is built by appending ops (tp/ops/ops.h), extended by the reverse pass, rewritten
// by passes, checked by Verify, and lowered to one Schedule a rank. It owns no memory of tensors.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tp/core/dtype.h"
#include "tp/core/shape.h"
#include "tp/core/status.h"
#include "tp/core/sum_order.h"
#include "tp/program/attributes.h"
#include "tp/program/op_def.h"
#include "tp/program/placement.h"

namespace tp {

enum class Phase { kForward, kBackward, kGradientSync, kOptimizer };
inline constexpr Phase kAllPhases[] = {Phase::kForward, Phase::kBackward, Phase::kGradientSync,
                                       Phase::kOptimizer};
// "forward", "backward", "gradient_sync", "optimizer".
std::string_view Name(Phase phase);

using ValueId = int;

struct Value {
  std::string name;
  Shape shape;  // global
  DType dtype = DType::kFloat32;
  Placements placements;
};

struct Op {
  const OpDef* def = &kInput;
  Phase phase = Phase::kForward;
  std::vector<ValueId> inputs = {};
  std::vector<ValueId> outputs = {};
  Attributes attributes = {};

  bool Is(const OpDef& other) const { return def == &other; }
  // Fed or set by the caller: an input or a parameter.
  bool IsSource() const { return Is(kInput) || Is(kParameter); }
};

class Program {
 public:
  const std::vector<Value>& values() const { return values_; }
  const std::vector<Op>& ops() const { return ops_; }
  const Value& value(ValueId id) const { return values_.at(id); }

  // What the step is for, in the caller's order: these values are readable after a step.
  const std::vector<ValueId>& results() const { return results_; }

  SumOrder sum_order() const { return sum_order_; }
  void set_sum_order(SumOrder order) { sum_order_ = order; }

  ValueId AddValue(Value value);
  // Takes the last value away again, which no op has yet.
  void DropLastValue();
  void AddOp(Op op);
  void AddResult(ValueId id);
  void Rename(ValueId id, std::string name);

  // For passes, which put a new list of ops (over the same values) in place of the old one, or find
  // that a value may lie otherwise.
  void ReplaceOps(std::vector<Op> ops);
  void SetPlacement(ValueId id, Axis axis, Placement placement) {
    values_.at(id).placements.Set(axis, placement);
  }
  // For tests that plant a bug. What they return is not to be changed any more once one of the
  // questions below was asked.
  Value& mutable_value(ValueId id);
  std::vector<Op>& mutable_ops();

  // The op that writes `id`, as an index into ops(); CHECKs that there is one.
  int DefinitionOf(ValueId id) const;
  // The op that updates parameter `id` in place, or -1.
  int UpdateOf(ValueId id) const;
  // The ops that read `id`, in order, as indices into ops(); one that reads it twice comes twice.
  const std::vector<int>& ReadersOf(ValueId id) const { return index().readers.at(id); }
  // How many inputs of ops, and results, are `id`.
  int UsesOf(ValueId id) const;
  bool IsResult(ValueId id) const { return index().results.at(id) > 0; }
  // `id` and what redistributes made of it, directly or not, in the order in which they are
  // written: these may lie in the same memory, so an update of one may change the others.
  std::vector<ValueId> SharersOf(ValueId id) const;
  // Whether a rank holds `id`, Partial on an axis, as the nodes of a tree of sums, one for each
  // that LargestNodes (tp/core/sum_order.h) gives: products and sums of rows in the invariant
  // order.
  bool IsSumTree(ValueId id) const;
  // `name`, or where a value has it already, `name` with the least number behind it that makes a
  // name of its own: "x", "x.2", "x.3".
  std::string FreeName(const std::string& name) const;
  // The value called `name` that an op writes, or NOT_FOUND.
  StatusOr<ValueId> Find(std::string_view name) const;

 private:
  // What is asked for by value or name, kept up as the program grows.
  struct Index {
    // By value.
    std::vector<int> definition;  // or -1
    std::vector<int> update;      // or -1
    std::vector<std::vector<int>> readers;
    std::vector<int> results;  // how many results it is
    std::unordered_map<std::string, std::vector<ValueId>> named;
    // By name: numbers from 2 below this one are taken behind it.
    std::unordered_map<std::string, int> free_number;
  };

  const Index& index() const;
  void MakeIndex() const;
  void IndexValue(ValueId id) const;
  void IndexOp(int op) const;
  void IndexResult(ValueId id) const;
  void ForgetName(ValueId id);

  std::vector<Value> values_;
  std::vector<Op> ops_;
  std::vector<ValueId> results_;
  SumOrder sum_order_ = SumOrder::kFast;
  mutable Index index_;
  mutable bool handed_out_ = false;  // values or ops, which may have changed since
};

// Checks the whole program: every value has a name of its own, is written exactly once and before
// it is read, every op's output has the shape, type and placement that its rule gives, results
// exist, and a parameter's update comes after every read of it and of what may share its memory.
// Where the sum order is invariant, products have no bias operand, and partial sums of a product or
// of rows are read by redistributes that complete them alone: to anything else they are not yet one
// number. Errors: INVALID_ARGUMENT that names the op and the rule.
Status Verify(const Program& program);

// One op a line: "y: fp32 [20, 1000] {tp: Shard(1), dp: Replicate} = matmul(x, w^T)  # forward".
// Says all that the program is, but for values that no op writes: tp/ops/parse.h reads it back.
std::string ToString(const Program& program);

// The line of one of its ops.
std::string ToString(const Program& program, const Op& op);

}  // namespace tp
