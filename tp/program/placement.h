// Placement: how a tensor lies on one axis of the mesh. The words are those of PyTorch's DTensor.
//
//   Replicate   every rank along the axis holds the whole tensor
//   Shard(d)    dimension d is cut into contiguous parts (tp/core/shard_geometry.h), one a rank
//   Partial     every rank holds a tensor of the full shape; the value is their sum, or where
//               it says so their maximum: Partial(max)
//
// Placements holds one Placement for each axis; Replicate for those that nobody spoke of. Several
// axes may cut one dimension, in an order that is part of the placement: the dimension is then cut
// as by one axis of all their ranks, of whose number the first axis's coordinate counts most. So
// the parts that differ in the last axis's coordinate alone are neighbours.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tp/core/collective.h"
#include "tp/core/mesh.h"

namespace tp {

enum class PlacementKind { kReplicate, kShard, kPartial };

struct Placement {
  PlacementKind kind = PlacementKind::kReplicate;
  int dim = 0;                            // of Shard; 0 otherwise
  Reduction reduction = Reduction::kSum;  // of Partial; kSum otherwise

  bool operator==(const Placement&) const = default;
};

constexpr Placement Replicate() { return {PlacementKind::kReplicate, 0}; }
constexpr Placement Shard(int dim) { return {PlacementKind::kShard, dim}; }
constexpr Placement Partial(Reduction reduction = Reduction::kSum) {
  return {PlacementKind::kPartial, 0, reduction};
}

constexpr bool IsReplicate(Placement p) { return p.kind == PlacementKind::kReplicate; }
constexpr bool IsShard(Placement p) { return p.kind == PlacementKind::kShard; }
constexpr bool IsShard(Placement p, int dim) { return p == Shard(dim); }
constexpr bool IsPartial(Placement p) { return p.kind == PlacementKind::kPartial; }
constexpr bool IsSum(Placement p) { return IsPartial(p) && p.reduction == Reduction::kSum; }

// The placement that the gradient of a value has when it is complete: a shard's gradient is that
// shard's; where the value was one (Replicate) or was about to be summed to one (Partial), every
// rank needs the whole gradient.
constexpr Placement Dual(Placement p) { return IsShard(p) ? p : Replicate(); }

[[noreturn]] void FailForTooManyAxes();

class Placements {
 public:
  struct Entry {
    Axis axis;
    Placement placement;

    bool operator==(const Entry&) const = default;
  };

  constexpr Placements() = default;  // Replicate on every axis
  constexpr Placements(Placement tp, Placement dp) {
    Set(Axis::kTp, tp);
    Set(Axis::kDp, dp);
  }

  // Replicate where nothing was set.
  constexpr Placement operator[](const Axis& axis) const {
    for (const Entry& entry : entries()) {
      if (entry.axis == axis) return entry.placement;
    }
    return Replicate();
  }

  // A dimension that other axes cut already is cut within their parts. CHECKs that there is room:
  // at most Mesh::kMostAxes axes are other than Replicate.
  constexpr void Set(const Axis& axis, Placement placement);

  // The axes that are not Replicate, in the order in which axes are told, but for those that cut
  // one dimension, which come in the order in which they cut it.
  constexpr std::span<const Entry> entries() const { return std::span(entries_).first(count_); }
  // The axes that cut dimension `dim`: the first cuts the whole, the next one each of its parts.
  std::vector<Axis> Cutting(int dim) const;
  // Whether `axis` is the last of those that cut its dimension, or cuts none.
  bool IsInnermost(const Axis& axis) const;

  bool operator==(const Placements& other) const {
    return std::ranges::equal(entries(), other.entries());
  }

 private:
  std::array<Entry, Mesh::kMostAxes> entries_;
  size_t count_ = 0;
};

constexpr void Placements::Set(const Axis& axis, Placement placement) {
  if ((*this)[axis] == placement) return;
  std::array<Entry, Mesh::kMostAxes + 1> given;  // without `axis`, then with it as the last
  size_t n = 0;
  for (const Entry& entry : entries()) {
    if (entry.axis != axis) given[n++] = entry;
  }
  if (!IsReplicate(placement)) given[n++] = {axis, placement};
  if (n > Mesh::kMostAxes) FailForTooManyAxes();
  std::array<Entry, Mesh::kMostAxes + 1> sorted = given;
  std::sort(sorted.begin(), sorted.begin() + n,
            [](const Entry& a, const Entry& b) { return a.axis < b.axis; });
  std::array<bool, Mesh::kMostAxes + 1> taken = {};
  for (size_t i = 0; i < n; ++i) {
    // What was given first of those that lie alike has the first of their places.
    size_t from = 0;
    while (taken[from] ||
           (IsShard(sorted[i].placement) ? given[from].placement != sorted[i].placement
                                         : given[from].axis != sorted[i].axis)) {
      ++from;
    }
    taken[from] = true;
    entries_[i] = given[from];
  }
  count_ = n;
}

// Dual on each axis; what is cut stays cut in its order.
Placements Dual(const Placements& placements);

// The axes on which `from` and `to` differ, in an order in which redistributes may change them one
// at a time: an axis changes while it is the innermost that cuts its dimension, before and after.
// Nothing where there is no such order, as where the same axes cut a dimension in another one.
std::optional<std::vector<Axis>> StepsBetween(const Placements& from, const Placements& to);

// "Replicate", "Shard(1)", "Partial", "Partial(max)"; "{tp: Shard(1), dp: Replicate}": tp and dp,
// and the others that are not Replicate, in the order of Placements::entries.
std::string ToString(Placement placement);
std::string ToString(const Placements& placements);

}  // namespace tp
