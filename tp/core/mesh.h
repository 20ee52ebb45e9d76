// Mesh: the ranks of a world as a grid of named axes, as in PyTorch's DeviceMesh.
//
// An axis is known by its name alone, everywhere. An axis that a mesh does not have is one of one
// rank, so a program runs on any mesh, whichever axes it speaks of.
//
// The coordinate on the first axis varies fastest: for (tp, dp), rank = dp_coordinate * tp +
// tp_coordinate, and the ranks of one tp group, who talk most, are neighbours. A group along an
// axis is listed in the order of its coordinate, so a rank's place in the group is its coordinate
// on that axis, never its rank in the world.
#pragma once

#include <array>
#include <compare>
#include <string>
#include <string_view>
#include <vector>

#include "tp/core/status.h"

namespace tp {

class Axis {
 public:
  static const Axis kTp;
  static const Axis kDp;
  static constexpr size_t kLongestName = 15;

  constexpr Axis() : Axis("tp") {}

  // The axis of that name: a small letter, then small letters, digits and "_". Errors:
  // INVALID_ARGUMENT where it is none, or longer than kLongestName.
  static StatusOr<Axis> Named(std::string_view name);

  constexpr std::string_view name() const { return std::string_view(name_.data()); }

  constexpr bool operator==(const Axis&) const = default;
  // The order in which axes are told: tp, dp, the others by name.
  constexpr std::strong_ordering operator<=>(const Axis& other) const;

 private:
  constexpr explicit Axis(std::string_view name) {
    for (size_t i = 0; i < name.size(); ++i) name_[i] = name[i];
  }
  constexpr int Turn() const { return name() == "tp" ? 0 : name() == "dp" ? 1 : 2; }

  std::array<char, kLongestName + 1> name_ = {};
};

inline constexpr Axis Axis::kTp{"tp"};
inline constexpr Axis Axis::kDp{"dp"};

constexpr std::strong_ordering Axis::operator<=>(const Axis& other) const {
  if (Turn() != other.Turn()) return Turn() <=> other.Turn();
  return name_ <=> other.name_;
}

// The axes of a mesh that is given by tp and dp.
inline constexpr std::array<Axis, 2> kDefaultAxes = {Axis::kTp, Axis::kDp};

// "tp", "dp", "kv".
constexpr std::string_view Name(const Axis& axis) { return axis.name(); }

struct NamedAxis {
  std::string name;
  int size = 1;  // ranks along it
};

class Mesh {
 public:
  static constexpr int kMostAxes = 4;
  static constexpr int kMaxWorld = 1 << 16;

  // Errors: INVALID_ARGUMENT where an axis is below 1 or has no name that Axis takes, two have one
  // name, there are none or more than kMostAxes, or the world is beyond kMaxWorld ranks.
  static StatusOr<Mesh> Create(const std::vector<NamedAxis>& axes);
  // {"tp", tp}, {"dp", dp}.
  static StatusOr<Mesh> Create(int tp, int dp);

  // In the order in which it was given them.
  const std::vector<Axis>& axes() const { return axes_; }
  // The place of `axis` among them, or -1.
  int PlaceOf(const Axis& axis) const;
  // 1 for an axis that it does not have.
  int Size(const Axis& axis) const;
  int world() const { return world_; }

  // Where `rank` stands on `axis`, in [0, Size(axis)).
  int Coordinate(int rank, const Axis& axis) const;

  // The ranks that differ from `rank` in nothing but `axis`, itself included.
  std::vector<int> Group(int rank, const Axis& axis) const;

 private:
  Mesh() = default;

  std::vector<Axis> axes_;
  std::vector<int> sizes_;    // by axis
  std::vector<int> strides_;  // by axis: between the ranks of two neighbours on it
  int world_ = 1;
};

}  // namespace tp
