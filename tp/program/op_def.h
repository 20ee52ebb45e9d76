// OpDef: all that the engine knows of one kind of op.
//
// Each is a constant in a file of its own, tp/ops/<op>.cc; tp/ops/all.h lists them. From its
// letters follow arity, shapes and the placement rule (letters.h), so an op has no table of
// placements. The three that have no letters are the Program's own: sources, and the op that
// changes a placement.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tp/core/status.h"
#include "tp/program/action.h"
#include "tp/program/reference.h"

namespace tp {

class Reverse;

// What makes an op different from those that have letters and compute.
enum class OpRole {
  kCompute,
  kInput,         // () -> value: fed by the caller
  kParameter,     // () -> value: set by the caller, changed by an op that updates it
  kRedistribute,  // (v) -> v with another placement on one axis
};

// The element type of an operand or output.
enum class TypeRule {
  kSame,         // the op's own, which all operands of this rule have
  kAccumulator,  // AccumulatorOf that
  kInt32,        // ids and seeds; of operands only
  kNamed,        // what the attribute "to" says; of outputs only
};

enum class AttributeType { kNumber, kInteger, kText };

struct AttributeDef {
  std::string_view name;
  AttributeType type = AttributeType::kNumber;
};

// Of an op with letters of its own.
inline constexpr size_t kMostOperands = 10;

struct OpDef {
  std::string_view name;
  OpRole role = OpRole::kCompute;

  // Empty where each op carries its own, as its attribute "letters".
  std::string_view letters = {};
  std::string_view whole = {};  // letters that are never cut
  // Whether it is linear in each operand, so that it may work on parts of a sum.
  bool linear = false;
  std::array<TypeRule, kMostOperands> operands = {};  // by operand: what type it must have
  // The letter that kInt32 operands have indices of, others being nobody's; 0 where they are none.
  char ids_of = 0;
  uint32_t positive = 0;  // as bits: the operands of which only positive numbers make sense
  std::array<TypeRule, 4> types = {};  // by output
  // By output: what it is over letters that it lacks, a sum or a maximum.
  std::array<Reduction, 4> reductions = {};
  std::array<AttributeDef, 8> attributes = {};  // up to the first without a name
  // What to do where operands do not lie as the letters ask; appended to the refusal.
  std::string_view advice = {};

  // How many of its first inputs, parameters, it changes in place: output i takes over the memory
  // of input i, for i < updates.
  int updates = 0;
  // What its launch is called, where not as the op.
  Action launch = {};
  // Its launch in the invariant order of sums, for ops that sum over a dimension of their first
  // operand and can follow that order (tp/core/sum_order.h).
  Action blocked = {};

  // Appends what computes the gradients of its inputs; where it is null, `no_reverse` says why.
  Status (*reverse)(Reverse&) = nullptr;
  std::string_view no_reverse = {};
  // As bits: the operands, beside kInt32 ones, that the rule has no gradient of; it is refused
  // where one is needed. And the outputs that nothing flows back through, since what is made of
  // them does not change with the inputs.
  uint32_t no_gradient_of = 0;
  uint32_t constant = 0;

  // What it means, in numbers of any kind.
  Reference reference = {};

  constexpr Action action() const { return launch.name.empty() ? Action{name} : launch; }
};

extern const OpDef kInput;
extern const OpDef kParameter;
extern const OpDef kRedistribute;

}  // namespace tp
