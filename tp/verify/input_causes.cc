#include "tp/verify/input_causes.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <utility>

#include "tp/core/shard_geometry.h"
#include "tp/program/typing.h"
#include "tp/schedule/local_part.h"
#include "tp/verify/value_owners.h"

namespace tp::verify {
namespace {

// Larger operands are not tried: a cause is a help, and may not cost more than the verdict.
constexpr int64_t kMostElements = int64_t{1} << 20;

class InputInquiry {
 public:
  InputInquiry(const LocalReference& reference, ValueId id, const std::vector<int64_t>& indices,
               const std::vector<double>& observed)
      : reference_(reference),
        program_(reference.program()),
        value_(program_.value(id)),
        op_(reference.OpOf(id)),
        letters_(LettersOf(program_, op_).value()),
        id_(id),
        indices_(indices),
        observed_(observed) {}

  std::vector<std::string> Run() {
    TryLeftOut();
    TryOffByOne();
    TryCountedAnew();
    TryOthersAttributes();
    TryPadding();
    TryIdsAtBorder();
    return std::move(causes_);
  }

 private:
  bool Explains(const std::vector<BoundedNumber>& guess) const {
    for (size_t i = 0; i < indices_.size(); ++i) {
      if (!(std::abs(observed_[i] - guess[i].value) <= guess[i].error)) return false;
    }
    return true;
  }
  bool Explains(const LocalReference& other) const { return Explains(other.Expect(id_, indices_)); }
  const std::string& NameOf(size_t operand) const {
    return program_.value(op_.inputs[operand]).name;
  }
  // Whether an operand can be put otherwise.
  bool IsKnown(size_t operand) const {
    const ValueId in = op_.inputs[operand];
    return reference_.IsObserved(in) && !reference_.Observed(in).partial() &&
           reference_.Observed(in).size() <= kMostElements;
  }

  // The operand, each element from where `from` says; zero where that is nowhere, below 0.
  LogicalValue Moved(size_t operand, const std::function<int64_t(int64_t)>& from) const {
    const LogicalValue& before = reference_.Observed(op_.inputs[operand]);
    LogicalValue moved = before;
    for (int64_t i = 0; i < before.size(); ++i) {
      const int64_t source = from(i);
      moved.shares[0].Set(i, source < 0 ? 0 : before.shares[0].At(source));
    }
    return moved;
  }

  void TryLeftOut() {
    if (letters_.terms().size() < 2) return;
    for (size_t i = 0; i < op_.inputs.size(); ++i) {
      if (!IsKnown(i)) continue;
      const LogicalValue none = Moved(i, [](int64_t) { return -1; });
      if (!Explains(reference_.With(op_.inputs[i], none))) continue;
      causes_.push_back(fmt::format("'{}' was left out of the sum", NameOf(i)));
    }
  }

  void TryOffByOne() {
    const std::vector<std::string> operands = letters_.operands();
    for (size_t i = 0; i < op_.inputs.size(); ++i) {
      const Shape& shape = program_.value(op_.inputs[i]).shape;
      for (size_t dim = 0; dim < shape.size(); ++dim) {
        if (shape[dim] == 1 || !IsKnown(i)) continue;
        for (int64_t by : {1, -1}) TryRolled({i}, operands[i][dim], by);
      }
    }
    // What belongs together, such as keys and values, may go astray together.
    for (char letter : letters_.all()) {
      std::vector<size_t> others;
      for (size_t i = 1; i < operands.size(); ++i) {
        if (operands[i].find(letter) != std::string::npos && IsKnown(i)) others.push_back(i);
      }
      for (int64_t by : {1, -1}) {
        if (others.size() > 1) TryRolled(others, letter, by);
      }
    }
  }

  void TryRolled(const std::vector<size_t>& which, char letter, int64_t by) {
    std::map<ValueId, LogicalValue> rolled;
    std::string names;
    for (size_t operand : which) {
      const Shape& shape = program_.value(op_.inputs[operand]).shape;
      const size_t dim = letters_.operands()[operand].find(letter);
      rolled[op_.inputs[operand]] = Moved(operand, [&](int64_t index) {
        std::vector<int64_t> position = PositionOf(shape, index);
        position[dim] = (position[dim] + by + shape[dim]) % shape[dim];
        return IndexOf(shape, position);
      });
      names += (names.empty() ? "'" : ", '") + NameOf(operand) + "'";
    }
    if (!Explains(reference_.With(std::move(rolled)))) return;
    causes_.push_back(fmt::format("{} read at the wrong '{}' of {}: off by {}", names, letter,
                                  letters_.ToString(), by));
  }

  // As if each rank's part of a letter began where the whole does.
  void TryCountedAnew() {
    const std::vector<std::string> operands = letters_.operands();
    const std::string& out = letters_.outputs()[Output()];
    for (const auto& [axis, placement] : value_.placements.entries()) {
      if (!IsShard(placement) || reference_.mesh().Size(axis) == 1) continue;
      const char letter = out[static_cast<size_t>(placement.dim)];
      const ShardGeometry geometry = GeometryOf(value_, placement.dim, reference_.mesh());
      if (!ExplainsAnew(letter, placement.dim, geometry)) continue;
      causes_.push_back(
          fmt::format("places in '{}' of {} were counted anew on each rank of {}, from 0", letter,
                      letters_.ToString(), Name(axis)));
    }
  }

  bool ExplainsAnew(char letter, int dim, const ShardGeometry& geometry) const {
    for (size_t i = 0; i < indices_.size(); ++i) {
      std::vector<int64_t> position = PositionOf(value_.shape, indices_[i]);
      const int64_t offset = geometry.Offset(geometry.OwnerOf(position[static_cast<size_t>(dim)]));
      std::map<ValueId, LogicalValue> anew;
      for (size_t operand = 0; operand < op_.inputs.size(); ++operand) {
        const size_t at = letters_.operands()[operand].find(letter);
        if (at == std::string::npos) continue;
        if (!IsKnown(operand)) return false;
        const Shape& shape = program_.value(op_.inputs[operand]).shape;
        anew[op_.inputs[operand]] = Moved(operand, [&](int64_t index) -> int64_t {
          std::vector<int64_t> from = PositionOf(shape, index);
          from[at] += offset;
          return from[at] < shape[at] ? IndexOf(shape, from) : -1;
        });
      }
      position[static_cast<size_t>(dim)] -= offset;
      const LocalReference counted = reference_.With(std::move(anew));
      const BoundedNumber guess = counted.Expect(id_, {IndexOf(value_.shape, position)})[0];
      if (!(std::abs(observed_[i] - guess.value) <= guess.error)) return false;
    }
    return true;
  }

  // What other ops of the kind are told.
  void TryOthersAttributes() {
    std::vector<Attributes> tried = {op_.attributes};
    for (const Op& other : program_.ops()) {
      if (other.def != op_.def || LettersIn(other) != LettersIn(op_)) continue;
      if (std::find(tried.begin(), tried.end(), other.attributes) != tried.end()) continue;
      tried.push_back(other.attributes);
      if (!Explains(reference_.WithAttributes(id_, other.attributes))) continue;
      causes_.push_back(
          fmt::format("it was made with {}, as '{}' is, in place of {}", ToString(other.attributes),
                      program_.value(other.outputs[0]).name, ToString(op_.attributes)));
    }
  }

  // Shards filled up to the size of the largest, where that counts: not in sums of products.
  void TryPadding() {
    const std::vector<std::string> operands = letters_.operands();
    for (size_t operand = 0; operand < op_.inputs.size(); ++operand) {
      const Value& in = program_.value(op_.inputs[operand]);
      for (const auto& [axis, placement] : in.placements.entries()) {
        if (!IsShard(placement)) continue;
        const char letter = operands[operand][static_cast<size_t>(placement.dim)];
        if (letters_.outputs()[Output()].find(letter) != std::string::npos) continue;
        const ShardGeometry parts = GeometryOf(in, placement.dim, reference_.mesh());
        const int64_t size = in.shape[static_cast<size_t>(placement.dim)];
        const int64_t extra = parts.Length(0) * parts.parts() - size;
        if (extra == 0 || !Explains(reference_.WithPadding(id_, letter, extra))) continue;
        causes_.push_back(fmt::format(
            "the parts of '{}' were filled up with zeros to one size on {}, and the zeros counted",
            letter, Name(axis)));
        return;
      }
    }
  }

  static std::string LettersIn(const Op& op) {
    return op.attributes.Has("letters") ? op.attributes.Text("letters") : "";
  }

  // Whether only one id's elements are wrong, the first or last of a rank's part.
  void TryIdsAtBorder() {
    if (op_.def->ids_of == 0) return;
    const std::vector<std::string> operands = letters_.operands();
    const std::string& out = letters_.outputs()[Output()];
    for (size_t i = 0; i < op_.inputs.size(); ++i) {
      if (op_.def->operands[i] != TypeRule::kInt32 || !IsKnown(i)) continue;
      const Shape& shape = program_.value(op_.inputs[i]).shape;
      std::set<int64_t> ids;
      for (int64_t index : indices_) {
        const std::vector<int64_t> position = PositionOf(value_.shape, index);
        std::vector<int64_t> at;
        for (char letter : operands[i]) {
          const size_t dim = out.find(letter);
          if (dim != std::string::npos) at.push_back(position[dim]);
        }
        if (at.size() != shape.size()) return;
        ids.insert(static_cast<int64_t>(reference_.Observed(op_.inputs[i]).At(IndexOf(shape, at))));
      }
      if (ids.size() == 1) SayBorder(*ids.begin(), operands);
    }
  }

  void SayBorder(int64_t id, const std::vector<std::string>& operands) {
    for (size_t i = 0; i < operands.size(); ++i) {
      const size_t dim = operands[i].find(op_.def->ids_of);
      if (dim == std::string::npos) continue;
      const Value& table = program_.value(op_.inputs[i]);
      for (const Axis& axis : table.placements.Cutting(static_cast<int>(dim))) {
        const ShardGeometry geometry = GeometryOf(table, static_cast<int>(dim), reference_.mesh());
        for (int part = 1; part < geometry.parts(); ++part) {
          const int64_t border = geometry.Offset(part);
          if (id != border && id != border - 1) continue;
          causes_.push_back(fmt::format(
              "only id {} is wrong, which is at the border between places {} and {} on {}: the "
              "mask of ids is off by one there",
              id, part - 1, part, Name(axis)));
          return;
        }
      }
    }
  }

  size_t Output() const {
    return static_cast<size_t>(std::find(op_.outputs.begin(), op_.outputs.end(), id_) -
                               op_.outputs.begin());
  }

  const LocalReference& reference_;
  const Program& program_;
  const Value& value_;
  const Op& op_;
  const Letters letters_;
  const ValueId id_;
  const std::vector<int64_t>& indices_;
  const std::vector<double>& observed_;
  std::vector<std::string> causes_;
};

}  // namespace

std::vector<std::string> CausesByInputs(const LocalReference& reference, ValueId value,
                                        const std::vector<int64_t>& indices,
                                        const std::vector<double>& observed) {
  if (reference.OpOf(value).def->role != OpRole::kCompute) return {};
  return InputInquiry(reference, value, indices, observed).Run();
}

}  // namespace tp::verify
