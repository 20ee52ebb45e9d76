#include "tp/core/mesh.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstdint>

namespace tp {
namespace {

bool IsLetter(char c) { return c >= 'a' && c <= 'z'; }
bool IsOfName(char c) { return IsLetter(c) || (c >= '0' && c <= '9') || c == '_'; }

}  // namespace

StatusOr<Axis> Axis::Named(std::string_view name) {
  if (name.empty() || name.size() > kLongestName || !IsLetter(name[0]) ||
      !std::all_of(name.begin(), name.end(), IsOfName)) {
    return InvalidArgument("'" + std::string(name) +
                           "' is no name of an axis: that is a small letter, then small letters, "
                           "digits and '_', at most " +
                           std::to_string(kLongestName) + " in all");
  }
  return Axis(name);
}

StatusOr<Mesh> Mesh::Create(const std::vector<NamedAxis>& axes) {
  if (axes.empty() || axes.size() > kMostAxes) {
    return InvalidArgument("a mesh has 1 to " + std::to_string(kMostAxes) + " axes, not " +
                           std::to_string(axes.size()));
  }
  Mesh mesh;
  std::string names;
  for (const NamedAxis& named : axes) {
    TP_ASSIGN_OR_RETURN(const Axis axis, Axis::Named(named.name));
    if (mesh.PlaceOf(axis) >= 0) {
      return InvalidArgument("two axes of the mesh are called '" + named.name + "'");
    }
    if (named.size < 1) {
      return InvalidArgument(named.name + " is " + std::to_string(named.size) +
                             "; it must be at least 1");
    }
    names += (names.empty() ? "" : " x ") + named.name;
    const int64_t world = int64_t{mesh.world_} * named.size;
    if (world > kMaxWorld) {
      return InvalidArgument(names + " is " + std::to_string(world) + " ranks; at most " +
                             std::to_string(kMaxWorld) + " can take part");
    }
    mesh.axes_.push_back(axis);
    mesh.sizes_.push_back(named.size);
    mesh.strides_.push_back(mesh.world_);
    mesh.world_ = static_cast<int>(world);
  }
  return mesh;
}

StatusOr<Mesh> Mesh::Create(int tp, int dp) { return Create({{"tp", tp}, {"dp", dp}}); }

int Mesh::PlaceOf(const Axis& axis) const {
  const auto found = std::find(axes_.begin(), axes_.end(), axis);
  return found == axes_.end() ? -1 : static_cast<int>(found - axes_.begin());
}

int Mesh::Size(const Axis& axis) const {
  const int place = PlaceOf(axis);
  return place < 0 ? 1 : sizes_[place];
}

int Mesh::Coordinate(int rank, const Axis& axis) const {
  const int place = PlaceOf(axis);
  return place < 0 ? 0 : rank / strides_[place] % sizes_[place];
}

std::vector<int> Mesh::Group(int rank, const Axis& axis) const {
  CHECK(rank >= 0 && rank < world()) << "rank " << rank << " of " << world();
  const int place = PlaceOf(axis);
  if (place < 0) return {rank};
  const int first = rank - Coordinate(rank, axis) * strides_[place];
  std::vector<int> ranks;
  for (int i = 0; i < sizes_[place]; ++i) ranks.push_back(first + i * strides_[place]);
  return ranks;
}

}  // namespace tp
