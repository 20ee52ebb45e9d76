#include "tp/verify/local_reference.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <string>

#include "tp/core/roundoff.h"
#include "tp/core/sum_order.h"
#include "tp/program/typing.h"
#include "tp/verify/bounds.h"

namespace tp::verify {
namespace {

std::vector<int64_t> UpTo(int64_t count) {
  std::vector<int64_t> indices(static_cast<size_t>(count));
  std::iota(indices.begin(), indices.end(), 0);
  return indices;
}

// An op's letters on its operands, with their sizes.
struct Lettered {
  Letters letters;
  std::map<char, int64_t> sizes;
};
Lettered LetteredOf(const Program& program, const Op& op) {
  Lettered lettered{LettersOf(program, op).value(), {}};
  std::vector<Shape> shapes;
  for (ValueId id : op.inputs) shapes.push_back(program.value(id).shape);
  const std::vector<std::string> names(shapes.size());
  lettered.sizes = lettered.letters.Sizes(shapes, names).value();
  return lettered;
}

// How many blocks a sum along the tree has, each as long as the longest: the tree cuts the first
// letter that is summed over, and of it an index is all points of the others.
int BlocksOfSum(const Letters& letters, const std::map<char, int64_t>& sizes) {
  const std::string summed = letters.summed();
  if (summed.size() < 2) return kSumBlocks;
  const int64_t size = std::max<int64_t>(1, sizes.at(summed[0]));
  return static_cast<int>(size / ((size + kSumBlocks - 1) / kSumBlocks));
}

double Points(const std::map<char, int64_t>& sizes) {
  double points = 1;
  for (const auto& [letter, size] : sizes) points *= static_cast<double>(size);
  return points;
}

// The elements of a tensor of dimensions `dims` whose letters in `fixed` are as it says, row-major.
std::vector<int64_t> ElementsAt(const std::string& dims, const std::map<char, int64_t>& sizes,
                                const std::map<char, int64_t>& fixed) {
  std::vector<int64_t> elements = {0};
  for (char letter : dims) {
    const auto at = fixed.find(letter);
    const int64_t size = sizes.at(letter);
    std::vector<int64_t> next;
    next.reserve(elements.size() * static_cast<size_t>(at == fixed.end() ? size : 1));
    for (int64_t element : elements) {
      if (at != fixed.end()) {
        next.push_back(element * size + at->second);
        continue;
      }
      for (int64_t i = 0; i < size; ++i) next.push_back(element * size + i);
    }
    elements = std::move(next);
  }
  return elements;
}

// `numbers`, of the elements that ElementsAt gives, with `extra` zeros behind the last of `letter`.
std::vector<BoundedNumber> Padded(const std::vector<BoundedNumber>& numbers,
                                  const std::string& dims, const std::map<char, int64_t>& sizes,
                                  const std::map<char, int64_t>& fixed, char letter,
                                  int64_t extra) {
  const size_t place = dims.find(letter);
  if (place == std::string::npos) return numbers;
  size_t behind = 1;  // elements of one index of the letter
  for (char later : dims.substr(place + 1)) {
    if (!fixed.contains(later)) behind *= static_cast<size_t>(sizes.at(later));
  }
  const size_t block = behind * static_cast<size_t>(sizes.at(letter));
  std::vector<BoundedNumber> padded;
  for (size_t begin = 0; begin < numbers.size(); begin += block) {
    const auto from = numbers.begin() + static_cast<std::ptrdiff_t>(begin);
    padded.insert(padded.end(), from, from + static_cast<std::ptrdiff_t>(block));
    padded.resize(padded.size() + behind * static_cast<size_t>(extra));
  }
  return padded;
}

// The letters of `dims` that may be taken one index at a time, at element `index`; what of them is
// left is `rest`: the element's place among those of the letters in `whole`.
std::map<char, int64_t> FixedAt(const std::string& dims, std::string_view whole,
                                const std::map<char, int64_t>& sizes, int64_t index,
                                int64_t& rest) {
  std::map<char, int64_t> fixed;
  int64_t stride = 1;
  rest = 0;
  for (auto letter = dims.rbegin(); letter != dims.rend(); ++letter) {
    const int64_t size = sizes.at(*letter);
    const int64_t at = index % size;
    index /= size;
    if (whole.find(*letter) == std::string_view::npos) {
      fixed[*letter] = at;
    } else {
      rest += at * stride;
      stride *= size;
    }
  }
  return fixed;
}

// What is exact may still need more bits than `dtype` has.
bool Fits(const BoundedNumber& number, double size, DType dtype) {
  const Rounding r = RoundingOf(dtype);
  return number.error == 0 && size < r.capacity * number.grid && size <= r.largest &&
         number.grid >= r.smallest;
}

}  // namespace

LocalReference::LocalReference(const Program& program, const Mesh& mesh,
                               const ObservedValues& observed, const Arithmetic& arithmetic)
    : program_(program), mesh_(mesh), observed_(observed), arithmetic_(arithmetic) {
  definitions_.resize(program.values().size());
  for (size_t i = 0; i < program.ops().size(); ++i) {
    const Op& op = program.ops()[i];
    for (size_t k = 0; k < op.outputs.size(); ++k) {
      definitions_[op.outputs[k]] = {static_cast<int>(i), k};
    }
    if (op.def->role == OpRole::kCompute) roundings_ += Points(LetteredOf(program, op).sizes);
  }
}

LocalReference LocalReference::With(std::map<ValueId, LogicalValue> values) const {
  LocalReference other = *this;
  for (auto& [id, value] : values) {
    other.instead_[id] = std::make_shared<const LogicalValue>(std::move(value));
  }
  return other;
}

LocalReference LocalReference::WithAttributes(ValueId id, Attributes attributes) const {
  LocalReference other = *this;
  other.told_instead_[OpIndexOf(id)] = std::move(attributes);
  return other;
}

LocalReference LocalReference::WithPadding(ValueId id, char letter, int64_t extra) const {
  LocalReference other = *this;
  other.padded_[OpIndexOf(id)] = {letter, extra};
  return other;
}

LocalReference LocalReference::With(ValueId id, LogicalValue value) const {
  LocalReference other = *this;
  other.instead_[id] = std::make_shared<const LogicalValue>(std::move(value));
  return other;
}

const LogicalValue& LocalReference::Observed(ValueId id) const {
  const auto instead = instead_.find(id);
  if (instead != instead_.end()) return *instead->second;
  CHECK(observed_.values[id]) << program_.value(id).name << " was not observed";
  return *observed_.values[id];
}

double LocalReference::PointsOf(ValueId id) const {
  const auto [index, output] = definitions_[id];
  const Op& op = program_.ops()[index];
  if (op.def->role != OpRole::kCompute) return 1;
  const Lettered lettered = LetteredOf(program_, op);
  double points = Points(lettered.sizes);
  for (char letter : lettered.letters.outputs()[output]) {
    const bool whole = op.def->whole.find(letter) != std::string_view::npos;
    if (!whole) points /= static_cast<double>(std::max<int64_t>(lettered.sizes.at(letter), 1));
  }
  return points;
}

bool LocalReference::IsShared(ValueId id) const {
  return std::ranges::any_of(program_.value(id).placements.entries(), [&](const auto& entry) {
    return mesh_.Size(entry.axis) > 1 && IsSum(entry.placement);
  });
}

std::vector<BoundedNumber> LocalReference::Load(ValueId id,
                                                const std::vector<int64_t>& indices) const {
  if (!IsObserved(id) && !instead_.contains(id)) return Expect(id, indices);
  const LogicalValue& value = Observed(id);
  std::vector<BoundedNumber> numbers;
  numbers.reserve(indices.size());
  for (int64_t index : indices) {
    BoundedNumber number = BoundedNumber::Exactly(value.shares[0].At(index));
    for (size_t i = 1; i < value.shares.size(); ++i) {
      const BoundedNumber share = BoundedNumber::Exactly(value.shares[i].At(index));
      number = {number.value + share.value, 0, number.size + share.size,
                std::fmin(number.grid, share.grid), /*are_shares=*/true};
    }
    const auto additions = static_cast<double>(value.shares.size() - 1);
    if (additions > 0 && !Fits(number, number.size, DType::kFloat64)) {
      number.error = Gamma(additions, BoundedNumber::kOwnRoundoff) * number.size;
      number.grid = 0;
    }
    numbers.push_back(number);
  }
  return numbers;
}

std::vector<BoundedNumber> LocalReference::Expect(ValueId id,
                                                  const std::vector<int64_t>& indices) const {
  const auto [index, output] = definitions_[id];
  const Op& op = program_.ops()[index];
  if (op.IsSource()) return Load(id, indices);
  if (op.Is(kRedistribute)) return Redistributed(op, indices);
  std::vector<BoundedNumber> numbers = Computed(op, output, indices);
  for (size_t i = 0; i < indices.size(); ++i) numbers[i] = Stored(numbers[i], id, indices[i]);
  return numbers;
}

std::vector<BoundedNumber> LocalReference::Redistributed(
    const Op& op, const std::vector<int64_t>& indices) const {
  const ValueId in = op.inputs[0];
  const ValueId out = op.outputs[0];
  const DType dtype = program_.value(out).dtype;
  std::vector<BoundedNumber> numbers = Load(in, indices);
  if (dtype == DType::kInt32) return numbers;  // whole numbers are moved, and never added
  const Rounding rounding = RoundingOf(dtype);
  double additions = 0;
  for (const auto& [axis, placement] : program_.value(in).placements.entries()) {
    const bool completes = IsSum(placement) && !IsSum(program_.value(out).placements[axis]);
    if (completes) additions += mesh_.Size(axis) - 1;
  }
  const bool shared = IsShared(out);
  for (size_t i = 0; i < numbers.size(); ++i) {
    BoundedNumber& number = numbers[i];
    if (program_.IsSumTree(in)) {  // along which they met in the accumulator
      number.size = shared ? number.size : std::abs(number.value);
      number.shares = shared;
      number = Stored(number, out, indices[i]);
      continue;
    }
    if (additions > 0 && !Fits(number, number.size, dtype)) {
      const double gamma = Gamma(additions, StoreRoundoff(dtype));
      const double underflow =
          arithmetic_.flushes_to_zero ? MinNormal(dtype) : UnderflowUnit(dtype);
      const double size = number.size + number.error;
      number.error = (number.error + gamma * size + (1 + gamma) * additions * underflow) *
                     BoundedNumber::kSlack;
      if (!(size + number.error <= rounding.largest)) number.error = HUGE_VAL;
      number.grid = 0;
    }
    if (!shared) number.size = std::abs(number.value);
    number.shares = shared;
  }
  return numbers;
}

Rounding LocalReference::RoundingFor(const Op& op, size_t output, const Letters& letters,
                                     const std::map<char, int64_t>& sizes) const {
  const DType dtype = program_.value(op.inputs[0]).dtype;
  const DType accumulator = AccumulatorOf(dtype);
  Rounding rounding = RoundingOn(dtype);
  bool probabilistic = true;
  if (IsProduct(op.def->action())) {
    if (arithmetic_.product_roundoff > 0) rounding.roundoff = arithmetic_.product_roundoff;
    rounding.operand_roundoff = arithmetic_.operand_roundoff;
    probabilistic = arithmetic_.probabilistic;
  }
  if (probabilistic) rounding.lambda = Lambda(roundings_, kRisk, rounding.roundoff);
  if (arithmetic_.flushes_to_zero) rounding.underflow = MinNormal(accumulator);
  if (accumulator == DType::kFloat32) rounding.functions = arithmetic_.functions;
  rounding.shared = IsShared(op.outputs[output]);
  // What is summed follows from the ids then, and may all lie on one rank.
  if (op.def->ids_of != 0) return rounding;
  if (program_.sum_order() == SumOrder::kInvariant && !op.def->blocked.name.empty()) {
    rounding.blocks = BlocksOfSum(letters, sizes);
  }
  std::map<char, int64_t> parts;  // of letters that are summed over
  const std::vector<std::string> operands = letters.operands();
  for (const Axis& axis : mesh_.axes()) {
    std::string cut;
    for (size_t i = 0; i < op.inputs.size(); ++i) {
      const Placement placement = program_.value(op.inputs[i]).placements[axis];
      if (IsShard(placement)) cut += operands[i][placement.dim];
    }
    if (cut.empty() || letters.outputs()[output].find(cut[0]) != std::string::npos) continue;
    parts.emplace(cut[0], 1).first->second *= mesh_.Size(axis);
  }
  for (const auto& [letter, count] : parts) {
    const int64_t size = std::max<int64_t>(sizes.at(letter), 1);
    rounding.longest_share *=
        static_cast<double>((size + count - 1) / count) / static_cast<double>(size);
  }
  return rounding;
}

std::vector<BoundedNumber> LocalReference::Computed(const Op& op, size_t output,
                                                    const std::vector<int64_t>& indices) const {
  const Lettered lettered = LetteredOf(program_, op);
  const Letters& letters = lettered.letters;
  const RoundingScope scope(RoundingFor(op, output, letters, lettered.sizes));
  const std::vector<std::string> operands = letters.operands();
  const auto instead = told_instead_.find(OpIndexOf(op.outputs[output]));
  const Attributes& told = instead == told_instead_.end() ? op.attributes : instead->second;
  const auto padded = padded_.find(OpIndexOf(op.outputs[output]));
  const auto [padded_letter, extra] =
      padded == padded_.end() ? std::pair<char, int64_t>() : padded->second;
  const auto run = [&](std::map<char, int64_t> sizes, const std::map<char, int64_t>& fixed) {
    if (extra > 0) sizes[padded_letter] += extra;
    ReferenceCall<BoundedNumber> call{letters, sizes, told, {}, {}};
    call.begin = ByLetter(fixed);
    call.whole = ByLetter(lettered.sizes);
    for (size_t i = 0; i < op.inputs.size(); ++i) {
      call.in.push_back(Load(op.inputs[i], ElementsAt(operands[i], lettered.sizes, fixed)));
      if (extra == 0) continue;
      call.in.back() =
          Padded(call.in.back(), operands[i], lettered.sizes, fixed, padded_letter, extra);
    }
    for (const Shape& shape : letters.OutputShapes(sizes)) {
      call.out.emplace_back(static_cast<size_t>(NumElements(shape)));
    }
    op.def->reference.in_bounded(call);
    return std::move(call.out[output]);
  };
  const int64_t total = NumElements(program_.value(op.outputs[output]).shape);
  if (static_cast<int64_t>(indices.size()) == total && indices == UpTo(total)) {
    return run(lettered.sizes, {});
  }
  std::vector<BoundedNumber> numbers;
  for (int64_t index : indices) {
    int64_t rest = 0;
    const std::map<char, int64_t> fixed =
        FixedAt(letters.outputs()[output], op.def->whole, lettered.sizes, index, rest);
    std::map<char, int64_t> sizes = lettered.sizes;
    for (const auto& [letter, at] : fixed) sizes[letter] = 1;
    numbers.push_back(run(sizes, fixed)[static_cast<size_t>(rest)]);
  }
  return numbers;
}

BoundedNumber LocalReference::Stored(BoundedNumber number, ValueId id, int64_t index) const {
  const Op& op = OpOf(id);
  const DType dtype = program_.value(id).dtype;
  const DType accumulator = op.Is(kRedistribute)
                                ? AccumulatorOf(dtype)
                                : AccumulatorOf(program_.value(op.inputs[0]).dtype);
  if (program_.IsSumTree(id) || dtype == accumulator) return number;
  const Rounding rounding = RoundingOf(dtype);
  double size = std::abs(number.value) + number.error;
  double stores = 1;
  if (IsShared(id)) {
    size = IsObserved(id) ? Observed(id).SizeAt(index) : number.size + number.error;
    stores = IsObserved(id) ? static_cast<double>(Observed(id).shares.size()) : mesh_.world();
  }
  if (Fits(number, size, dtype)) return number;
  const double underflow = arithmetic_.flushes_to_zero ? MinNormal(dtype) : rounding.underflow;
  number.error += rounding.roundoff * size + stores * underflow;
  number.error *= BoundedNumber::kSlack;
  number.grid = 0;
  if (!(size + number.error <= rounding.largest)) number.error = HUGE_VAL;
  return number;
}

}  // namespace tp::verify
