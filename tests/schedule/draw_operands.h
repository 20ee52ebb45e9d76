// Operands for any op of the list, drawn by its letters and types alone.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/schedule/random_program.h"
#include "tp/program/letters.h"
#include "tp/program/op_def.h"

namespace tp {

// To be called in a RapidCheck property. A program's dimensions have letters of their own, each of
// one size; the op's letters are bound to these as operands are drawn. An operand is a value that
// fits what is bound so far, or a new source: always one where only some numbers make sense.
class OperandDrawing {
 public:
  // `dims` has the letters of each value's dimensions. New sources are added to all three.
  OperandDrawing(const OpDef& def, const std::map<char, int64_t>& sizes, DType dtype,
                 RandomProgram& random, std::vector<std::string>& dims);

  // The operands; nothing where they cannot be made.
  std::optional<std::vector<ValueId>> Run();
  // The letters of each output's dimensions.
  std::vector<std::string> OutputDims() const;

 private:
  struct Binding {
    std::map<char, char> letters;
    std::optional<std::string> any;  // of "*"

    bool Uses(char letter) const;
  };

  // `binding` with the dimensions of an operand that `pattern` describes, where they fit.
  static std::optional<Binding> Bound(Binding binding, const std::string& pattern,
                                      const std::string& dims);
  std::optional<ValueId> DrawOperand(size_t operand, const std::string& pattern);
  std::optional<ValueId> DrawSource(size_t operand, const std::string& pattern);
  std::optional<std::string> DrawDims(const std::string& pattern);
  std::string Spelled(const std::string& pattern) const;

  bool IsFixed(size_t operand) const;
  bool Fits(size_t operand, const std::string& pattern, ValueId id) const;
  DType TypeOf(size_t operand) const;
  // As the axes that were drawn cut a value of these dimensions.
  Placements PlacementsOf(const std::string& dims) const;
  void ChooseCuts(ValueId first);
  std::vector<std::pair<Axis, char>> DrawCuts(const std::string& dims) const;

  const OpDef& def_;
  const std::map<char, int64_t>& sizes_;
  const DType dtype_;
  RandomProgram& random_;
  std::vector<std::string>& dims_;
  const Letters letters_;
  Binding binding_;
  std::optional<DType> own_;                 // the op's own type, once it is known
  std::vector<std::pair<Axis, char>> cuts_;  // which axis cuts which letter, outermost first
  std::vector<std::pair<std::string, size_t>> made_;  // new sources, and which operands they are
};

}  // namespace tp
