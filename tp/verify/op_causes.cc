#include "tp/verify/op_causes.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <optional>
#include <utility>

#include "tp/core/roundoff.h"
#include "tp/core/shard_geometry.h"
#include "tp/program/typing.h"
#include "tp/schedule/local_part.h"
#include "tp/verify/input_causes.h"
#include "tp/verify/value_owners.h"

namespace tp::verify {
namespace {

constexpr size_t kMostElements = 64;  // looked at

using Numbers = std::vector<BoundedNumber>;

// What is known of a mistake in one value, and the sentences that fit so far.
class Inquiry {
 public:
  explicit Inquiry(const WrongValue& wrong)
      : reference_(wrong.reference),
        id_(wrong.value),
        value_(reference_.program().value(id_)),
        op_(reference_.OpOf(id_)) {
    const size_t step = (wrong.failing.size() + kMostElements - 1) / kMostElements;
    for (size_t i = 0; i < wrong.failing.size(); i += step) {
      indices_.push_back(wrong.indices[wrong.failing[i]]);
      expected_.push_back(wrong.expected[wrong.failing[i]]);
      observed_.push_back(reference_.Observed(id_).At(indices_.back()));
    }
    for (size_t place : wrong.failing) all_wrong_.push_back(wrong.indices[place]);
  }

  std::vector<std::string> Run() {
    TryShares();
    TryMaximum();
    TryMovedShards();
    TryPartialInputs();
    TryTermOnEveryRank();
    for (std::string& cause : CausesByInputs(reference_, id_, indices_, observed_)) {
      Say(std::move(cause));
    }
    TryFactor();
    SayWhere();
    return std::move(causes_);
  }

 private:
  const Mesh& mesh() const { return reference_.mesh(); }

  // Whether these explain every wrong element: they are what is observed, up to what rounding may
  // take of them, and elsewhere than what is expected.
  bool Explains(const Numbers& guess) const {
    for (size_t i = 0; i < indices_.size(); ++i) {
      const double bound = std::max(guess[i].error, expected_[i].error);
      if (!(std::abs(observed_[i] - guess[i].value) <= bound)) return false;
    }
    return true;
  }
  void Say(std::string cause) { causes_.push_back(std::move(cause)); }

  // Of a redistribute that completes a sum over one axis.
  void TryShares() {
    if (!op_.Is(kRedistribute) || !reference_.IsObserved(op_.inputs[0])) return;
    const LogicalValue& in = reference_.Observed(op_.inputs[0]);
    const Placements from = reference_.program().value(op_.inputs[0]).placements;
    if (!in.partial()) return;
    const std::vector<Axis>& axes = mesh().axes();
    const auto axis = std::find_if(axes.begin(), axes.end(), [&](Axis a) {
      return IsPartial(from[a]) && !IsPartial(value_.placements[a]) && mesh().Size(a) > 1;
    });
    if (axis == axes.end()) return;
    // Those of one place on the axis, whatever their places on other axes of the sum: shares are
    // told by the place on the first axis, then on the second, ...
    const auto members = static_cast<size_t>(mesh().Size(*axis));
    size_t behind = 1;
    for (auto later = axis + 1; later != axes.end(); ++later) {
      if (IsSum(from[*later])) behind *= static_cast<size_t>(mesh().Size(*later));
    }
    if (in.shares.size() % (behind * members) != 0) return;  // of a maximum
    const auto part_of = [&](size_t place, int64_t index) {
      double part = 0;
      for (size_t share = 0; share < in.shares.size(); ++share) {
        if (share / behind % members == place) part += in.shares[share].At(index);
      }
      return part;
    };
    for (size_t place = 0; place < members; ++place) {
      Numbers alone = expected_;
      Numbers without = expected_;
      Numbers twice = expected_;
      for (size_t i = 0; i < indices_.size(); ++i) {
        const double part = part_of(place, indices_[i]);
        alone[i].value = part;
        without[i].value = expected_[i].value - part;
        twice[i].value = expected_[i].value + part;
      }
      const std::string of = fmt::format("of place {} on {}", place, Name(*axis));
      if (Explains(alone)) Say("it is the share " + of + " alone: the sum was not taken");
      if (Explains(without)) Say("the share " + of + " is missing from the sum");
      if (Explains(twice)) Say("the share " + of + " was counted twice");
    }
    Numbers largest = expected_;
    for (size_t i = 0; i < indices_.size(); ++i) {
      largest[i].value = part_of(0, indices_[i]);
      for (size_t place = 1; place < members; ++place) {
        largest[i].value = std::max(largest[i].value, part_of(place, indices_[i]));
      }
    }
    if (Explains(largest)) Say("it is the maximum over the ranks, not the sum");
  }

  // Of a redistribute that completes a maximum.
  void TryMaximum() {
    if (!op_.Is(kRedistribute)) return;
    for (const Axis& axis : mesh().axes()) {
      const Placement from = reference_.program().value(op_.inputs[0]).placements[axis];
      if (!IsPartial(from) || from.reduction != Reduction::kMax || mesh().Size(axis) == 1) continue;
      bool below = true;
      for (size_t i = 0; i < indices_.size(); ++i) {
        below = below && observed_[i] < expected_[i].value;
      }
      if (below) {
        Say(fmt::format("it is below the greatest over {}: the maximum was not taken", Name(axis)));
      }
    }
  }

  // The value at `indices_` if what belongs at move(index) lay there.
  Numbers Moved(const std::function<int64_t(int64_t)>& move) const {
    std::vector<int64_t> from;
    for (int64_t index : indices_) from.push_back(move(index));
    return reference_.Expect(id_, from);
  }

  // Of what is gathered, or lies in shards itself.
  void TryMovedShards() {
    const Value& in = op_.Is(kRedistribute) ? reference_.program().value(op_.inputs[0]) : value_;
    for (const auto& [axis, placement] : in.placements.entries()) {
      const int members = mesh().Size(axis);
      if (!IsShard(placement) || members == 1 || !in.placements.IsInnermost(axis)) continue;
      for (int a = 0; a < members; ++a) {
        for (int b = a + 1; b < members; ++b) TrySwapped(in, axis, a, b);
      }
      if (placement.dim > 0) TryRankMajor(in, axis);
    }
  }

  // In each group on the axis, among the parts of which it is the innermost cut.
  void TrySwapped(const Value& in, const Axis& axis, int a, int b) {
    const int dim = in.placements[axis].dim;
    const ShardGeometry geometry = GeometryOf(in, dim, mesh());
    const auto other = [&](int64_t at) -> int64_t {
      const int part = geometry.OwnerOf(at);
      const int member = part % mesh().Size(axis);
      const int swapped = part - member + (member == a ? b : a);
      if ((member != a && member != b) || geometry.Length(part) != geometry.Length(swapped)) {
        return -1;
      }
      return at + geometry.Offset(swapped) - geometry.Offset(part);
    };
    for (int64_t index : indices_) {
      if (other(PositionOf(value_.shape, index)[dim]) < 0) return;
    }
    const Numbers swapped = Moved([&](int64_t index) {
      std::vector<int64_t> position = PositionOf(value_.shape, index);
      position[dim] = other(position[dim]);
      return IndexOf(value_.shape, position);
    });
    if (Explains(swapped)) {
      Say(fmt::format("the shards of places {} and {} on {} are swapped", a, b, Name(axis)));
    }
  }

  // In what each group on the axis holds of the whole: the other axes may cut it too.
  void TryRankMajor(const Value& in, const Axis& axis) {
    const int dim = in.placements[axis].dim;
    const int members = mesh().Size(axis);
    const ShardGeometry geometry = GeometryOf(in, dim, mesh());
    Value whole = value_;
    whole.placements.Set(axis, Replicate());
    const Numbers flat = Moved([&](int64_t index) {
      std::vector<int64_t> position = PositionOf(value_.shape, index);
      std::vector<int64_t> begin(position.size(), 0);
      Shape local = value_.shape;
      for (size_t d = 0; d < position.size(); ++d) {
        const ShardGeometry cut = GeometryOf(whole, static_cast<int>(d), mesh());
        const int part = cut.OwnerOf(position[d]);
        begin[d] = cut.Offset(part);
        local[d] = cut.Length(part);
      }
      const int first = geometry.OwnerOf(position[dim]) / members * members;
      const auto offset = [&](int part) {
        return geometry.Offset(first + part) - geometry.Offset(first);
      };
      for (size_t d = 0; d < position.size(); ++d) position[d] -= begin[d];
      const int64_t place = IndexOf(local, position);
      const int64_t others = NumElements(local) / local[dim];
      int part = 0;
      while (part + 1 < members && offset(part + 1) * others <= place) ++part;
      local[dim] = geometry.Length(first + part);
      position = PositionOf(local, place - offset(part) * others);
      begin[dim] += offset(part);
      for (size_t d = 0; d < position.size(); ++d) position[d] += begin[d];
      return IndexOf(value_.shape, position);
    });
    if (Explains(flat)) {
      Say(
          fmt::format("laid out rank-major: the shards on {} lie one after the other, not side by "
                      "side",
                      Name(axis)));
    }
  }

  // As if an input that a redistribute completes were still a share of it.
  void TryPartialInputs() {
    if (op_.Is(kRedistribute)) return;
    for (ValueId input : op_.inputs) {
      const Op& made = reference_.OpOf(input);
      if (!made.Is(kRedistribute) || !reference_.IsObserved(made.inputs[0])) continue;
      const LogicalValue& before = reference_.Observed(made.inputs[0]);
      for (size_t share = 0; before.partial() && share < before.shares.size(); ++share) {
        const LocalReference left = reference_.With(input, LogicalValue{{before.shares[share]}});
        if (!Explains(left.Expect(id_, indices_))) continue;
        const auto& program = reference_.program();
        Say(fmt::format("it was made of '{}', share {} of a sum, in place of '{}': left Partial",
                        program.value(made.inputs[0]).name, share, program.value(input).name));
        break;
      }
    }
  }

  // An operand that is added, such as a bias, by each of several ranks.
  void TryTermOnEveryRank() {
    if (op_.def->role != OpRole::kCompute) return;
    const Letters letters = LettersOf(reference_.program(), op_).value();
    if (letters.terms().size() < 2) return;
    size_t operand = 0;
    for (const auto& factors : letters.terms()) {
      const ValueId input = op_.inputs[operand];
      operand += factors.size();
      if (factors.size() > 1) continue;
      for (const Axis& axis : mesh().axes()) {
        const int ranks = mesh().Size(axis);
        if (ranks == 1) continue;
        HostTensor often(reference_.program().value(input).shape, DType::kFloat64);
        std::vector<int64_t> all(static_cast<size_t>(often.size()));
        std::iota(all.begin(), all.end(), 0);
        const Numbers once = reference_.Expect(input, all);
        for (int64_t i : all) often.Set(i, ranks * once[static_cast<size_t>(i)].value);
        if (!Explains(reference_.With(input, LogicalValue{{often}}).Expect(id_, indices_)))
          continue;
        Say(fmt::format("'{}' is added on every one of the {} {} ranks",
                        reference_.program().value(input).name, ranks, Name(axis)));
      }
    }
  }

  // What was expected, times a factor that is known to a few roundings.
  Numbers Scaled(double factor) const {
    Numbers scaled = expected_;
    for (BoundedNumber& number : scaled) {
      number.value *= factor;
      number.error *= 2 * std::max(1.0, std::abs(factor));
      number.error += 3 * StoreRoundoff(value_.dtype) * std::abs(number.value);
    }
    return scaled;
  }

  void TryFactor() {
    size_t largest = 0;
    for (size_t i = 0; i < indices_.size(); ++i) {
      if (std::abs(expected_[i].value) > std::abs(expected_[largest].value)) largest = i;
    }
    const double factor = observed_[largest] / expected_[largest].value;
    if (!std::isfinite(factor)) return;
    if (!Explains(Scaled(factor))) return;
    if (factor == 0) return Say("zeros: nothing was written");
    for (const Axis& axis : mesh().axes()) {
      const int ranks = mesh().Size(axis);
      if (ranks == 1) continue;
      if (Explains(Scaled(ranks))) {
        return Say(
            fmt::format("{} times too large: counted by each rank on {}", ranks, Name(axis)));
      }
      if (Explains(Scaled(1.0 / ranks))) {
        return Say(fmt::format("divided by {}: a mean over {}, not a sum", ranks, Name(axis)));
      }
    }
    if (indices_.size() > 1) Say(fmt::format("off by the factor {:.8g}", factor));
  }

  void SayWhere() {
    const int total = mesh().world();
    std::vector<int> owners = OwnersOf(value_, mesh(), all_wrong_[0]);
    std::vector<bool> same(value_.shape.size(), true);
    const std::vector<int64_t> first = PositionOf(value_.shape, all_wrong_[0]);
    for (int64_t index : all_wrong_) {
      if (OwnersOf(value_, mesh(), index) != owners) owners.clear();
      const std::vector<int64_t> position = PositionOf(value_.shape, index);
      for (size_t dim = 0; dim < same.size(); ++dim) {
        same[dim] = same[dim] && position[dim] == first[dim];
      }
    }
    if (owners.size() == 1 && total > 1) {
      Say(fmt::format("all that is wrong is made by rank {}", owners[0]));
    }
    if (all_wrong_.size() < 2) return;
    for (size_t dim = 0; dim < same.size(); ++dim) {
      if (!same[dim] || value_.shape[dim] == 1) continue;
      Say(fmt::format("all that is wrong has index {} in dimension {}", first[dim], dim));
    }
  }

  const LocalReference& reference_;
  const ValueId id_;
  const Value& value_;
  const Op& op_;
  std::vector<int64_t> indices_;  // some of the wrong ones
  Numbers expected_;
  std::vector<double> observed_;
  std::vector<int64_t> all_wrong_;
  std::vector<std::string> causes_;
};

}  // namespace

std::vector<std::string> CausesOf(const WrongValue& wrong) { return Inquiry(wrong).Run(); }

}  // namespace tp::verify
