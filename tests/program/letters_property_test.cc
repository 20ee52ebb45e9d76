// The placement rule against brute force: for random letters and placements, an op is computed
// whole and on the ranks' parts, and what it says of the outputs is what the ranks hold.
//
// Two ops stand for all. The linear one is what the letters say: a sum of products, summed over
// what an output lacks. The other one is no sum of products: each operand's element squared goes in
// too, and, where letters are `whole`, the sum over these of the first operand; over what an output
// lacks it is a sum or a maximum. Numbers are integers, so comparisons are exact; they are drawn
// from so many that nothing agrees by chance.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "tp/core/shard_geometry.h"
#include "tp/program/letters.h"

namespace tp {
namespace {

using Number = uint64_t;
using Point = std::map<char, int64_t>;
using Sizes = std::map<char, int64_t>;

// A tensor's elements, row-major over its letters; `begin` is where a rank's part of a letter
// begins.
struct Tensor {
  std::string dims;
  Shape shape;
  std::vector<Number> elements;

  Number At(const Point& point) const {
    int64_t index = 0;
    for (size_t d = 0; d < dims.size(); ++d) index = index * shape[d] + point.at(dims[d]);
    return elements.at(index);
  }
};

template <typename F>
void ForEachPoint(const std::string& over, const Sizes& sizes, const F& f, Point point = {}) {
  if (point.size() == over.size()) return f(point);
  const char letter = over[point.size()];
  for (int64_t i = 0; i < sizes.at(letter); ++i) {
    Point next = point;
    next[letter] = i;
    ForEachPoint(over, sizes, f, next);
  }
}

struct Op {
  Letters letters;
  std::string whole;
  bool linear;
  std::vector<Reduction> reductions;  // by output

  std::string Of(const std::vector<std::string>& dims) const {
    std::string out;
    for (const std::string& each : dims) {
      for (char c : each) {
        if (out.find(c) == std::string::npos) out += c;
      }
    }
    return out;
  }

  std::vector<Tensor> Run(const std::vector<Tensor>& in, const Sizes& sizes) const {
    std::vector<Tensor> out;
    for (size_t o = 0; o < letters.outputs().size(); ++o) {
      const std::string& dims = letters.outputs()[o];
      Tensor tensor{dims, {}, {}};
      for (char c : dims) tensor.shape.push_back(sizes.at(c));
      tensor.elements.resize(NumElements(tensor.shape));
      size_t operand = 0;
      for (const auto& term : letters.terms()) {
        std::vector<std::string> all = {dims};
        all.insert(all.end(), term.begin(), term.end());
        ForEachPoint(Of(all), sizes, [&](const Point& point) {
          Number value = 1;
          for (size_t i = 0; i < term.size(); ++i) value *= Factor(in, operand + i, point, sizes);
          int64_t index = 0;
          for (char c : dims) index = index * sizes.at(c) + point.at(c);
          Number& element = tensor.elements[index];
          element = reductions[o] == Reduction::kMax ? std::max(element, value) : element + value;
        });
        operand += term.size();
      }
      out.push_back(std::move(tensor));
    }
    return out;
  }

  Number Factor(const std::vector<Tensor>& in, size_t i, const Point& point,
                const Sizes& sizes) const {
    const Number x = in[i].At(point);
    if (linear) return x;
    Number across = 0;
    std::string over;
    for (char c : in[0].dims) {
      if (whole.find(c) != std::string::npos) over += c;
    }
    if (!over.empty()) {
      ForEachPoint(over, sizes, [&](const Point& along) {
        Point at = point;
        for (const auto& [letter, index] : along) at[letter] = index;
        bool known = true;
        for (char c : in[0].dims) known = known && at.contains(c);
        if (known) across += in[0].At(at);
      });
    }
    return x * x + x + across * across;
  }
};

// The part of `whole` that a rank has.
Tensor PartOf(const Tensor& whole, Placement on, int rank, int ranks) {
  if (IsReplicate(on)) return whole;
  Tensor part = whole;
  if (IsPartial(on)) {  // rank r has r + 1 times the first's and the last has what is left
    for (Number& x : part.elements) {
      const auto others = static_cast<Number>(7 * ranks * (ranks - 1) / 2);
      x = rank + 1 < ranks ? static_cast<Number>((rank + 1) * 7) : x - others;
    }
    return part;
  }
  const ShardGeometry geometry(whole.shape[on.dim], ranks);
  part.shape[on.dim] = geometry.Length(rank);
  part.elements.clear();
  Sizes sizes;
  for (size_t d = 0; d < part.dims.size(); ++d) sizes[part.dims[d]] = part.shape[d];
  ForEachPoint(part.dims, sizes, [&](Point point) {
    point[whole.dims[on.dim]] += geometry.Offset(rank);
    part.elements.push_back(whole.At(point));
  });
  return part;
}

// Whether the ranks' tensors are `whole`, lying so.
bool Are(const std::vector<Tensor>& parts, const Tensor& whole, Placement on) {
  const auto ranks = static_cast<int>(parts.size());
  if (IsPartial(on)) {
    std::vector<Number> all(whole.elements.size());
    for (const Tensor& part : parts) {
      if (part.shape != whole.shape) return false;
      for (size_t i = 0; i < all.size(); ++i) {
        all[i] = IsSum(on) ? all[i] + part.elements[i] : std::max(all[i], part.elements[i]);
      }
    }
    return all == whole.elements;
  }
  for (int rank = 0; rank < ranks; ++rank) {
    const Tensor expected = PartOf(whole, on, rank, ranks);
    if (parts[rank].shape != expected.shape || parts[rank].elements != expected.elements) {
      return false;
    }
  }
  return true;
}

std::string DrawDims(const std::string& from, size_t most) {
  std::string dims;
  for (char c : from) {
    if (dims.size() < most && *rc::gen::arbitrary<bool>()) dims += c;
  }
  if (*rc::gen::arbitrary<bool>()) std::reverse(dims.begin(), dims.end());
  return dims;
}

Op DrawOp() {
  const bool linear = *rc::gen::arbitrary<bool>();
  const int terms = linear ? *rc::gen::inRange(1, 3) : 1;
  std::string text;
  std::string known;
  for (int t = 0; t < terms; ++t) {
    const int factors = *rc::gen::inRange(1, 4);
    for (int f = 0; f < factors; ++f) {
      const std::string dims = DrawDims("abcd", 3);
      known += dims;
      text += (f > 0 ? "," : t > 0 ? " + " : "") + dims;
    }
  }
  std::string letters;
  for (char c : std::string("abcd")) {
    if (known.find(c) != std::string::npos) letters += c;
  }
  const int outputs = *rc::gen::inRange(1, 3);
  for (int o = 0; o < outputs; ++o) text += (o == 0 ? " -> " : ",") + DrawDims(letters, 3);
  Op op{Letters::Parse(text).value(), "", linear, {}};
  for (int o = 0; o < outputs; ++o) {
    const bool maximum = !linear && *rc::gen::arbitrary<bool>();
    op.reductions.push_back(maximum ? Reduction::kMax : Reduction::kSum);
  }
  if (!linear && *rc::gen::arbitrary<bool>()) op.whole = DrawDims(op.letters.operands()[0], 2);
  return op;
}

std::vector<Placement> DrawPlacements(const Letters& letters) {
  std::vector<Placement> on;
  // Most random placements mean nothing; half of them follow one letter.
  const std::string all = letters.all();
  const bool follow = !all.empty() && *rc::gen::arbitrary<bool>();
  const char letter = follow ? *rc::gen::elementOf(all) : ' ';
  for (const std::string& dims : letters.operands()) {
    const size_t at = dims.find(letter);
    if (follow) {
      on.push_back(at == std::string::npos ? Replicate() : Shard(static_cast<int>(at)));
      continue;
    }
    const int pick = *rc::gen::inRange(-2, static_cast<int>(dims.size()));
    on.push_back(pick == -2 ? Partial() : pick == -1 ? Replicate() : Shard(pick));
  }
  return on;
}

// The outputs of each rank, or nothing where the ranks' parts do not even fit each other.
std::optional<std::vector<std::vector<Tensor>>> RunOnRanks(const Op& op,
                                                           const std::vector<Tensor>& whole,
                                                           const std::vector<Placement>& on,
                                                           int ranks) {
  std::vector<std::vector<Tensor>> by_rank;
  for (int rank = 0; rank < ranks; ++rank) {
    std::vector<Tensor> parts;
    Sizes sizes;
    for (size_t i = 0; i < whole.size(); ++i) {
      parts.push_back(PartOf(whole[i], on[i], rank, ranks));
      for (size_t d = 0; d < parts[i].dims.size(); ++d) {
        const auto [known, first] = sizes.emplace(parts[i].dims[d], parts[i].shape[d]);
        if (known->second != parts[i].shape[d]) return std::nullopt;
      }
    }
    by_rank.push_back(op.Run(parts, sizes));
  }
  return by_rank;
}

std::vector<Tensor> OutputOf(const std::vector<std::vector<Tensor>>& by_rank, size_t i) {
  std::vector<Tensor> parts;
  for (const auto& outputs : by_rank) parts.push_back(outputs[i]);
  return parts;
}

RC_GTEST_PROP(Letters, TheRuleAgreesWithBruteForce, ()) {
  const Op op = DrawOp();
  const int ranks = *rc::gen::inRange(2, 5);
  const std::vector<Placement> on = DrawPlacements(op.letters);
  Sizes sizes;
  for (char c : op.letters.all()) sizes[c] = *rc::gen::inRange<int64_t>(1, 5);
  std::vector<Tensor> whole;
  for (const std::string& dims : op.letters.operands()) {
    Tensor tensor{dims, {}, {}};
    for (char c : dims) tensor.shape.push_back(sizes.at(c));
    for (int64_t i = 0; i < NumElements(tensor.shape); ++i) {
      tensor.elements.push_back(*rc::gen::inRange<Number>(1, 1000));
    }
    whole.push_back(std::move(tensor));
  }
  const std::vector<Tensor> expected = op.Run(whole, sizes);
  const auto rule = op.letters.Rule(on, op.whole, op.linear, op.reductions);
  const auto by_rank = RunOnRanks(op, whole, on, ranks);
  std::string placements;
  for (Placement p : on) placements += " " + ToString(p);
  RC_CLASSIFY(rule.has_value(), "has a rule");
  RC_LOG() << op.letters.ToString() << placements << (op.linear ? " linear" : "") << " whole "
           << op.whole << " over " << ranks;
  if (rule) {
    RC_ASSERT(by_rank.has_value());
    for (size_t i = 0; i < expected.size(); ++i) {
      RC_ASSERT(Are(OutputOf(*by_rank, i), expected[i], (*rule)[i]));
    }
    return;
  }
  // Nothing that the rule refuses would have been right, unless a dimension has but one element.
  const bool degenerate =
      std::any_of(sizes.begin(), sizes.end(), [](const auto& s) { return s.second < 2; });
  if (!by_rank || degenerate) return;
  bool all_right = true;
  for (size_t i = 0; i < expected.size(); ++i) {
    std::vector<Placement> choices = {Replicate(), Partial(), Partial(Reduction::kMax)};
    for (size_t d = 0; d < expected[i].dims.size(); ++d)
      choices.push_back(Shard(static_cast<int>(d)));
    all_right = all_right && std::any_of(choices.begin(), choices.end(), [&](Placement p) {
                  return Are(OutputOf(*by_rank, i), expected[i], p);
                });
  }
  RC_ASSERT(!all_right);
}

}  // namespace
}  // namespace tp
