// Letters: what an op does to the dimensions of its operands, in the notation of einsum.
//
//   "mk,kn -> mn"        a product: k is summed over, since no output has it
//   "mk,kn + n -> mn"    a sum of products: its terms are added, each on every point that lacks
//                        none of the output's letters
//   "* + * -> *"         "*" stands for any number of dimensions, the same ones everywhere
//   "*f,f -> *f,*"       two outputs
//
// One letter is one dimension, of one size wherever it occurs. From the letters alone follow how
// many operands an op has, the shapes of its outputs, how much it computes, and the placement rule
// below. Source: Einstein's summation convention as in NumPy's einsum; the rule is that each op is
// distributive over concatenation along a letter, and over sums where it is linear. GSPMD (Xu et
// al., 2021) and PyTorch's DTensor have tables that say the same, op by op.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tp/core/shape.h"
#include "tp/core/status.h"
#include "tp/program/placement.h"

namespace tp {

// Which part of a letter a rank has: indices [begin, begin + length) of `whole`.
struct LetterPart {
  char letter = 0;
  int64_t begin = 0;
  int64_t length = 0;
  int64_t whole = 0;

  bool operator==(const LetterPart&) const = default;
};

class Letters {
 public:
  // Errors: INVALID_ARGUMENT where `text` is not of the form above, has an output letter that no
  // operand has, or has a letter twice in one operand.
  static StatusOr<Letters> Parse(std::string_view text);

  // The letters with "*" spelled out for operands with so many dimensions. Errors:
  // INVALID_ARGUMENT where there are other operands than the letters have, or where an operand has
  // another number of dimensions; `names` are for these messages.
  StatusOr<Letters> For(const std::vector<Shape>& operands,
                        const std::vector<std::string>& names) const;

  // What follows is of letters without "*".

  // The size of each letter. Errors: INVALID_ARGUMENT that names two operands that disagree.
  StatusOr<std::map<char, int64_t>> Sizes(const std::vector<Shape>& operands,
                                          const std::vector<std::string>& names) const;
  std::vector<Shape> OutputShapes(const std::map<char, int64_t>& sizes) const;

  // How the outputs lie on one axis of the mesh where the operands lie as `on` says, or nothing
  // where the parts that the ranks would compute are neither shards nor parts of a sum:
  //   - all replicated: all replicated;
  //   - the axis cuts one letter, in every operand that has it, and replicates the rest: outputs
  //     that have the letter are cut there, those without it, which are summed over it, are
  //     Partial; a term that lacks it may then not be added to them;
  //   - each term is a part of a sum: the axis cuts a letter that no output has, or the op is
  //     linear and one of the term's factors is Partial: all Partial.
  // Letters in `whole` are never cut. `reductions` says by output over what it is Partial: what is
  // no sum over the letters that it lacks, but their maximum, say. Outputs beyond it are sums.
  std::optional<std::vector<Placement>> Rule(const std::vector<Placement>& on,
                                             std::string_view whole, bool linear,
                                             std::span<const Reduction> reductions = {}) const;

  // By term: whether, with its operands lying so on one axis, each rank would work out a part of a
  // sum over ranks.
  std::vector<bool> PartSums(const std::vector<Placement>& on, std::string_view whole,
                             bool linear) const;

  // Terms of factors, and outputs: strings of letters.
  const std::vector<std::vector<std::string>>& terms() const { return terms_; }
  const std::vector<std::string>& outputs() const { return outputs_; }
  // The factors of all terms in order: an op's operands.
  std::vector<std::string> operands() const;
  // Every letter of the operands once, in order of appearance.
  std::string all() const;
  // Those that no output has: what is summed over.
  std::string summed() const;
  // "mk,kn + n -> mn"
  std::string ToString() const;

  bool operator==(const Letters&) const = default;

 private:
  bool IsPartSum(size_t term, const std::vector<Placement>& on, std::string_view whole,
                 bool linear) const;  // `on` of the term's operands alone

  std::vector<std::vector<std::string>> terms_;
  std::vector<std::string> outputs_;
};

}  // namespace tp
