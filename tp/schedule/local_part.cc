#include "tp/schedule/local_part.h"

#include <glog/logging.h>

namespace tp {

ShardGeometry GeometryOf(const Value& value, int dim, const Mesh& mesh) {
  int parts = 1;
  for (const auto& [axis, placement] : value.placements.entries()) {
    if (IsShard(placement, dim)) parts *= mesh.Size(axis);
  }
  return ShardGeometry(value.shape[dim], parts);
}

int PartOf(const Value& value, int dim, const Mesh& mesh, int rank) {
  int part = 0;
  for (const auto& [axis, placement] : value.placements.entries()) {
    if (IsShard(placement, dim)) part = part * mesh.Size(axis) + mesh.Coordinate(rank, axis);
  }
  return part;
}

Extent ExtentOf(const Value& value, int dim, const Mesh& mesh, int rank) {
  const ShardGeometry geometry = GeometryOf(value, dim, mesh);
  const int part = PartOf(value, dim, mesh, rank);
  return {geometry.Offset(part), geometry.Length(part)};
}

Shape LocalShape(const Value& value, const Mesh& mesh, int rank) {
  Shape sizes;
  for (int dim = 0; dim < static_cast<int>(value.shape.size()); ++dim) {
    sizes.push_back(ExtentOf(value, dim, mesh, rank).length);
  }
  return sizes;
}

BlockRange BlocksOf(const Value& value, int dim, const Mesh& mesh, int rank) {
  return BlocksOfShard(PartOf(value, dim, mesh, rank), GeometryOf(value, dim, mesh).parts());
}

GroupCut::GroupCut(const Value& value, const Axis& axis, const Mesh& mesh, int rank)
    : dim_(value.placements[axis].dim),
      members_(mesh.Size(axis)),
      all_(GeometryOf(value, dim_, mesh)),
      first_(tp::PartOf(value, dim_, mesh, rank) - mesh.Coordinate(rank, axis)) {
  CHECK(IsShard(value.placements[axis]) && value.placements.IsInnermost(axis))
      << value.name << " " << ToString(value.placements) << " on " << Name(axis);
}

std::vector<int64_t> GroupCut::Counts(const View& whole) const {
  std::vector<int64_t> counts;
  for (int member = 0; member < members_; ++member) {
    counts.push_back(PartOf(whole, member).size());
  }
  return counts;
}

}  // namespace tp
