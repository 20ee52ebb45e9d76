#include "tp/schedule/local_part.h"

#include "tp/core/shard_geometry.h"

namespace tp {
Extent ExtentOf(const Value& value, int dim, const Mesh& mesh, int rank) {
  for (Axis axis : kAllAxes) {
    if (!IsShard(value.placements[axis], dim)) continue;
    const ShardGeometry geometry(value.shape[dim], mesh.Size(axis));
    const int part = mesh.Coordinate(rank, axis);
    return {geometry.Offset(part), geometry.Length(part)};
  }
  return {0, value.shape[dim]};
}

Shape LocalShape(const Value& value, const Mesh& mesh, int rank) {
  Shape sizes;
  for (int dim = 0; dim < static_cast<int>(value.shape.size()); ++dim) {
    sizes.push_back(ExtentOf(value, dim, mesh, rank).length);
  }
  return sizes;
}

BlockRange BlocksOf(const Value& value, int dim, const Mesh& mesh, int rank) {
  for (Axis axis : kAllAxes) {
    if (!IsShard(value.placements[axis], dim)) continue;
    return BlocksOfShard(mesh.Coordinate(rank, axis), mesh.Size(axis));
  }
  return BlockRange();
}

View BlockOf(const View& whole, const Value& value, int dim, int members, int member) {
  const ShardGeometry geometry(value.shape[dim], members);
  return whole.Sub(dim, geometry.Offset(member), geometry.Length(member));
}

std::vector<int64_t> BlockCounts(const View& whole, const Value& value, int dim, int members) {
  std::vector<int64_t> counts;
  for (int member = 0; member < members; ++member) {
    counts.push_back(BlockOf(whole, value, dim, members, member).size());
  }
  return counts;
}

}  // namespace tp
