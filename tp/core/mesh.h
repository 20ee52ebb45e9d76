// Mesh: the ranks of a world as a grid with the named axes dp and tp.
//
// rank = dp_coordinate * tp + tp_coordinate: the ranks of one tp group are neighbours, because they
// talk most. A group along an axis is listed in the order of its coordinate, so a rank's place in
// the group is its coordinate on that axis, never its rank in the world.
#pragma once

#include <array>
#include <string_view>
#include <vector>

#include "tp/core/status.h"

namespace tp {

enum class Axis { kTp, kDp };
inline constexpr int kNumAxes = 2;
inline constexpr std::array<Axis, kNumAxes> kAllAxes = {Axis::kTp, Axis::kDp};

// "tp" or "dp".
std::string_view Name(Axis axis);

class Mesh {
 public:
  // Errors: an axis below 1, or a world beyond kMaxWorld ranks.
  static StatusOr<Mesh> Create(int tp, int dp);
  static constexpr int kMaxWorld = 1 << 16;

  int Size(Axis axis) const { return axis == Axis::kTp ? tp_ : dp_; }
  int world() const { return tp_ * dp_; }

  // Where `rank` stands on `axis`, in [0, Size(axis)).
  int Coordinate(int rank, Axis axis) const { return axis == Axis::kTp ? rank % tp_ : rank / tp_; }

  // The ranks that differ from `rank` in nothing but `axis`, itself included.
  std::vector<int> Group(int rank, Axis axis) const;

 private:
  Mesh(int tp, int dp) : tp_(tp), dp_(dp) {}

  int tp_;
  int dp_;
};

}  // namespace tp
