#include "tests/schedule/draw_operands.h"

#include <rapidcheck.h>

#include <algorithm>

#include "tests/ops/trial.h"
#include "tp/ops/ops.h"

namespace tp {
namespace {

constexpr int64_t kMostPoints = 2000;  // that the letters of an op have

}  // namespace

OperandDrawing::OperandDrawing(const OpDef& def, const std::map<char, int64_t>& sizes, DType dtype,
                               RandomProgram& random, std::vector<std::string>& dims)
    : def_(def),
      sizes_(sizes),
      dtype_(dtype),
      random_(random),
      dims_(dims),
      letters_(Letters::Parse(def.letters).value()) {}

std::optional<std::vector<ValueId>> OperandDrawing::Run() {
  std::vector<ValueId> inputs;
  const std::vector<std::string> operands = letters_.operands();
  for (size_t i = 0; i < operands.size(); ++i) {
    const std::optional<ValueId> id = DrawOperand(i, operands[i]);
    if (!id) return std::nullopt;
    if (def_.operands.at(i) == TypeRule::kSame) own_ = random_.program.value(*id).dtype;
    if (i == 0) ChooseCuts(*id);
    inputs.push_back(*id);
  }
  int64_t points = 1;
  for (const auto& [letter, drawn] : binding_.letters) points *= sizes_.at(drawn);
  for (char drawn : binding_.any.value_or("")) points *= sizes_.at(drawn);
  if (points > kMostPoints) return std::nullopt;
  const int64_t ids = def_.ids_of == 0 ? 0 : sizes_.at(binding_.letters.at(def_.ids_of));
  for (const auto& [name, operand] : made_) {
    random_.sources[name] = [&def = def_, operand = operand, ids](int64_t i) {
      return TrialElement(def, operand, i, ids);
    };
    if (IsFixed(operand)) random_.fixed.insert(name);
  }
  return inputs;
}

std::vector<std::string> OperandDrawing::OutputDims() const {
  std::vector<std::string> outputs;
  for (const std::string& pattern : letters_.outputs()) outputs.push_back(Spelled(pattern));
  return outputs;
}

bool OperandDrawing::Binding::Uses(char letter) const {
  return any.value_or("").find(letter) != std::string::npos ||
         std::ranges::any_of(letters, [&](const auto& bound) { return bound.second == letter; });
}

std::optional<OperandDrawing::Binding> OperandDrawing::Bound(Binding binding,
                                                             const std::string& pattern,
                                                             const std::string& dims) {
  const bool has_any = pattern.find('*') != std::string::npos;
  const size_t letters = pattern.size() - (has_any ? 1 : 0);
  if (dims.size() < letters || (!has_any && dims.size() > letters)) return std::nullopt;
  size_t at = 0;
  for (char letter : pattern) {
    const std::string part = dims.substr(at, letter == '*' ? dims.size() - letters : 1);
    at += part.size();
    const auto bound = binding.letters.find(letter);
    const bool known = letter == '*' ? binding.any.has_value() : bound != binding.letters.end();
    if (known) {
      if (part != (letter == '*' ? *binding.any : std::string(1, bound->second))) {
        return std::nullopt;
      }
      continue;
    }
    if (std::ranges::any_of(part, [&](char c) { return binding.Uses(c); })) return std::nullopt;
    if (letter == '*') {
      binding.any = part;
    } else {
      binding.letters[letter] = part[0];
    }
  }
  return binding;
}

std::string OperandDrawing::Spelled(const std::string& pattern) const {
  std::string dims;
  for (char letter : pattern) {
    dims += letter == '*' ? *binding_.any : std::string(1, binding_.letters.at(letter));
  }
  return dims;
}

// Only some numbers make sense: ids and seeds, and what must be positive.
bool OperandDrawing::IsFixed(size_t operand) const {
  return def_.operands.at(operand) == TypeRule::kInt32 || (def_.positive >> operand & 1) != 0;
}

DType OperandDrawing::TypeOf(size_t operand) const {
  const TypeRule rule = def_.operands.at(operand);
  if (rule == TypeRule::kInt32) return DType::kInt32;
  const DType own = own_.value_or(dtype_);
  return rule == TypeRule::kAccumulator ? AccumulatorOf(own) : own;
}

bool OperandDrawing::Fits(size_t operand, const std::string& pattern, ValueId id) const {
  const Program& program = random_.program;
  const Value& value = program.value(id);
  if (static_cast<int>(operand) < def_.updates &&
      !program.ops()[program.DefinitionOf(id)].Is(kParameter)) {
    return false;
  }
  if (operand > 0 && !(value.placements == PlacementsOf(dims_[id]))) return false;
  const bool any_type = !own_ && def_.operands.at(operand) == TypeRule::kSame;
  const bool typed = any_type ? value.dtype != DType::kInt32 : value.dtype == TypeOf(operand);
  return typed && Bound(binding_, pattern, dims_[id]).has_value();
}

std::optional<ValueId> OperandDrawing::DrawOperand(size_t operand, const std::string& pattern) {
  std::vector<ValueId> fitting;
  for (size_t id = 0; id < dims_.size() && !IsFixed(operand); ++id) {
    if (Fits(operand, pattern, static_cast<ValueId>(id))) fitting.push_back(static_cast<int>(id));
  }
  if (fitting.empty() || *rc::gen::inRange(0, 4) == 0) return DrawSource(operand, pattern);
  const ValueId id = *rc::gen::elementOf(fitting);
  binding_ = *Bound(binding_, pattern, dims_[id]);
  return id;
}

// The letters of a new source's dimensions, those that are not bound being any that are left.
std::optional<std::string> OperandDrawing::DrawDims(const std::string& pattern) {
  const auto left = [&] {
    std::string letters;
    for (const auto& [letter, size] : sizes_) {
      if (!binding_.Uses(letter)) letters += letter;
    }
    return letters;
  };
  for (char letter : pattern) {
    if (letter == '*') continue;
    if (binding_.letters.contains(letter)) continue;
    const std::string choice = left();
    if (choice.empty()) return std::nullopt;
    binding_.letters[letter] = *rc::gen::elementOf(choice);
  }
  if (pattern.find('*') != std::string::npos && !binding_.any) {
    std::string any;
    for (char letter : left()) {
      if (*rc::gen::inRange(0, 3) == 0) any += letter;
    }
    binding_.any = any;
  }
  return Spelled(pattern);
}

std::optional<ValueId> OperandDrawing::DrawSource(size_t operand, const std::string& pattern) {
  const std::optional<std::string> dims = DrawDims(pattern);
  if (!dims || dims->size() > kMostDims) return std::nullopt;
  Shape shape;
  for (char letter : *dims) shape.push_back(sizes_.at(letter));
  const DType dtype = TypeOf(operand);
  const bool updated = static_cast<int>(operand) < def_.updates;
  const bool parameter = updated || (dtype != DType::kInt32 && *rc::gen::arbitrary<bool>());
  if (operand == 0) cuts_ = DrawCuts(*dims);
  const std::string name = "t" + std::to_string(dims_.size());
  const auto id = (parameter ? AddParameter : AddInput)(
      random_.program, Value{name, std::move(shape), dtype, PlacementsOf(*dims)});
  if (!id.ok()) return std::nullopt;
  dims_.push_back(*dims);
  made_.emplace_back(name, operand);
  return *id;
}

Placements OperandDrawing::PlacementsOf(const std::string& dims) const {
  Placements placements;
  for (const auto& [axis, letter] : cuts_) {
    const size_t at = dims.find(letter);
    if (at != std::string::npos) placements.Set(axis, Shard(static_cast<int>(at)));
  }
  return placements;
}

// What follows lies as the first operand does.
void OperandDrawing::ChooseCuts(ValueId first) {
  cuts_.clear();
  for (const auto& [axis, placement] : random_.program.value(first).placements.entries()) {
    if (IsShard(placement)) cuts_.emplace_back(axis, dims_[first][placement.dim]);
  }
}

std::vector<std::pair<Axis, char>> OperandDrawing::DrawCuts(const std::string& dims) const {
  std::vector<std::pair<Axis, char>> cuts;
  if (dims.empty()) return cuts;
  for (const Axis& axis : {Axis::kTp, Axis::kDp}) {
    if (*rc::gen::arbitrary<bool>()) cuts.emplace_back(axis, *rc::gen::elementOf(dims));
  }
  return cuts;
}

}  // namespace tp
