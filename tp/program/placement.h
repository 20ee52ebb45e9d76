// Placement: how a tensor lies on one axis of the mesh. The words are those of PyTorch's DTensor.
//
//   Replicate   every rank along the axis holds the whole tensor
//   Shard(d)    dimension d is cut into contiguous parts (tp/core/shard_geometry.h), one a rank
//   Partial     every rank holds a tensor of the full shape; the value is their sum, or where
//               it says so their maximum: Partial(max)
//
// Placements holds one Placement for each axis of the mesh.
#pragma once

#include <array>
#include <string>

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

class Placements {
 public:
  constexpr Placements() = default;  // Replicate on every axis
  constexpr Placements(Placement tp, Placement dp) : on_axis_{tp, dp} {}

  constexpr Placement& operator[](Axis axis) { return on_axis_[static_cast<int>(axis)]; }
  constexpr Placement operator[](Axis axis) const { return on_axis_[static_cast<int>(axis)]; }

  bool operator==(const Placements&) const = default;

 private:
  std::array<Placement, kNumAxes> on_axis_;
};

// "Replicate", "Shard(1)", "Partial", "Partial(max)"; "{tp: Shard(1), dp: Replicate}".
std::string ToString(Placement placement);
std::string ToString(const Placements& placements);

}  // namespace tp
