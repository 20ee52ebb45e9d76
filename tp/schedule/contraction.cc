#include "tp/schedule/contraction.h"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tp {
namespace {

enum Tensor { kA, kB, kC, kAdded, kNumTensors };
enum Group { kBatch, kM, kN, kK, kNumGroups };

// A letter, or some that became one dimension: its strides in each tensor, 0 where that lacks it.
struct Joint {
  int64_t size = 1;
  std::array<int64_t, kNumTensors> strides = {};
};
// What stands for a group without letters.
constexpr Joint kUnit = {1, {1, 1, 1, 1}};

bool Has(std::string_view dims, char letter) { return dims.find(letter) != std::string_view::npos; }

bool Joins(const Joint& outer, const Joint& inner) {
  for (int t = 0; t < kNumTensors; ++t) {
    if (outer.strides[t] != inner.size * inner.strides[t]) return false;
  }
  return true;
}

// One group's letters, as few dimensions as they can be. A letter that is alone stays as it is;
// among others, one of one element is left out.
std::vector<Joint> Merge(std::vector<Joint> letters) {
  if (letters.size() < 2) return letters;
  const auto empty = std::find_if(letters.begin(), letters.end(),
                                  [](const Joint& letter) { return letter.size == 0; });
  if (empty != letters.end()) return {*empty};
  std::erase_if(letters, [](const Joint& letter) { return letter.size == 1; });
  // Tensors that lack the group have stride 0 all over; of the others, c counts most.
  std::stable_sort(letters.begin(), letters.end(), [](const Joint& x, const Joint& y) {
    const auto key = [](const Joint& j) {
      return std::array{j.strides[kC], j.strides[kA], j.strides[kB]};
    };
    return key(x) > key(y);
  });
  std::vector<Joint> merged;
  for (const Joint& letter : letters) {
    if (!merged.empty() && Joins(merged.back(), letter)) {
      merged.back() = {merged.back().size * letter.size, letter.strides};
    } else {
      merged.push_back(letter);
    }
  }
  return merged;
}

// Which dimension of each of m, n and k is the matrix product's.
struct Choice {
  Joint m, n, k;

  // A matrix whose tensor lacks a letter has that dimension's stride 0, and lies neither way.
  static bool LiesAlong(Tensor t, const Joint& rows, const Joint& columns) {
    if (rows.size > 1 && rows.strides[t] == 0) return false;
    if (columns.size > 1 && columns.strides[t] == 0) return false;
    return rows.size <= 1 || columns.size <= 1 || rows.strides[t] == 1 || columns.strides[t] == 1;
  }
  // More is better.
  std::pair<bool, int64_t> Value() const {
    const bool as_it_lies = LiesAlong(kA, m, k) && LiesAlong(kB, k, n) && LiesAlong(kC, m, n);
    return {as_it_lies, m.size * n.size * k.size};
  }
};

class Grouping {
 public:
  Grouping(const Letters& letters, const View& a, const View& b, const View& c, const View* added)
      : letters_(letters), views_{&a, &b, &c, added} {}

  Status Check() const {
    const auto& terms = letters_.terms();
    if (terms[0].size() != 2 || letters_.outputs().size() != 1 || terms.size() > 2 ||
        (terms.size() == 2 && terms[1].size() != 1)) {
      return InvalidArgument("a product takes two factors and one tensor to add at most, not " +
                             letters_.ToString());
    }
    for (char letter : terms.size() == 2 ? terms[1][0] : std::string()) {
      if (!Has(letters_.outputs()[0], letter)) {
        return InvalidArgument("in " + letters_.ToString() + " what is added is summed");
      }
    }
    return OkStatus();
  }

  StatusOr<Contraction> Run() {
    TP_RETURN_IF_ERROR(Check());
    for (int t : {kA, kB}) dims_[t] = letters_.terms()[0][t];
    dims_[kC] = letters_.outputs()[0];
    if (letters_.terms().size() == 2) dims_[kAdded] = letters_.terms()[1][0];
    // A bias runs along columns, which are b's; so it is on ranks that do not add it, too.
    if (AddsLettersOf(kA, kB) && !AddsLettersOf(kB, kA)) {
      std::swap(dims_[kA], dims_[kB]);
      std::swap(views_[kA], views_[kB]);
    }
    for (char letter : letters_.all()) Sort(letter);
    for (auto& group : groups_) group = Merge(std::move(group));
    Choose();
    for (int group : {kBatch, kM, kN, kK}) {
      loops_.insert(loops_.end(), groups_[group].begin(), groups_[group].end());
    }
    if (loops_.size() + 2 > static_cast<size_t>(kMostViewDims)) {
      return InvalidArgument(letters_.ToString() + " is " + std::to_string(loops_.size()) +
                             " loops around a matrix product as its operands lie, more than " +
                             std::to_string(kMostViewDims - 2));
    }
    Contraction contraction;
    contraction.a = Arranged(kA, &choice_.m, choice_.k);
    contraction.b = Arranged(kB, &choice_.k, choice_.n);
    contraction.c = Arranged(kC, &choice_.m, choice_.n);
    if (views_[kAdded] != nullptr) {
      const bool whole = AddsLettersOf(kA, kB);
      contraction.added = Arranged(kAdded, whole ? &choice_.m : nullptr, choice_.n);
    }
    return contraction;
  }

 private:
  // Whether what is added has a letter that the one factor has and the other has not.
  bool AddsLettersOf(Tensor one, Tensor other) const {
    return std::ranges::any_of(dims_[kAdded], [&](char letter) {
      return Has(dims_[one], letter) && !Has(dims_[other], letter);
    });
  }

  // Puts a letter into its group.
  void Sort(char letter) {
    Joint joint;
    for (int t = 0; t < kNumTensors; ++t) {
      const size_t at = dims_[t].find(letter);
      if (at == std::string::npos || views_[t] == nullptr) continue;
      const Dim& dim = views_[t]->dims[static_cast<int>(at)];
      joint.size = dim.size;
      joint.strides[t] = dim.stride;
    }
    const bool in_a = Has(dims_[kA], letter);
    const bool in_b = Has(dims_[kB], letter);
    const Group group = !Has(dims_[kC], letter) ? kK : in_a && in_b ? kBatch : in_a ? kM : kN;
    groups_[group].push_back(joint);
  }

  // Takes the dimensions of the matrix product out of their groups.
  void Choose() {
    for (int group : {kM, kN, kK}) {
      if (groups_[group].empty()) groups_[group].push_back(kUnit);
    }
    std::optional<std::pair<bool, int64_t>> best;
    std::array<size_t, 3> at = {};
    for (size_t m = 0; m < groups_[kM].size(); ++m) {
      for (size_t n = 0; n < groups_[kN].size(); ++n) {
        for (size_t k = 0; k < groups_[kK].size(); ++k) {
          const Choice choice{groups_[kM][m], groups_[kN][n], groups_[kK][k]};
          if (best && choice.Value() <= *best) continue;
          best = choice.Value();
          choice_ = choice;
          at = {m, n, k};
        }
      }
    }
    for (int i = 0; i < 3; ++i) {
      auto& group = groups_[std::array{kM, kN, kK}[i]];
      group.erase(group.begin() + static_cast<std::ptrdiff_t>(at[i]));
    }
  }

  View Arranged(Tensor t, const Joint* rows, const Joint& columns) const {
    View view{views_[t]->buffer, views_[t]->offset, {}};
    for (const Joint& loop : loops_) view.dims.push_back({loop.size, loop.strides[t]});
    if (rows != nullptr) view.dims.push_back({rows->size, rows->strides[t]});
    view.dims.push_back({columns.size, columns.strides[t]});
    if (rows == nullptr) return view;
    // A dimension of one element has any stride: one with which the matrix lies along the other.
    Dim& row = view.dims[view.rank() - 2];
    Dim& column = view.dims[view.rank() - 1];
    if (row.stride != 1 && column.stride != 1) {
      if (column.size == 1) {
        column.stride = 1;
      } else if (row.size == 1) {
        row.stride = 1;
      }
    }
    return view;
  }

  const Letters& letters_;
  std::array<const View*, kNumTensors> views_;
  std::array<std::string, kNumTensors> dims_;
  std::array<std::vector<Joint>, kNumGroups> groups_;
  Choice choice_;
  std::vector<Joint> loops_;
};

}  // namespace

StatusOr<Contraction> GroupLetters(const Letters& letters, const View& a, const View& b,
                                   const View& c, const View* added) {
  return Grouping(letters, a, b, c, added).Run();
}

}  // namespace tp
