#include "tp/schedule/local_part.h"

#include "tp/core/shard_geometry.h"

namespace tp {
namespace {

Extent ExtentOf(const Value& value, int dim, const Mesh& mesh, int rank) {
  for (Axis axis : kAllAxes) {
    if (!IsShard(value.placements[axis], dim)) continue;
    const ShardGeometry geometry(value.shape[dim], mesh.Size(axis));
    const int part = mesh.Coordinate(rank, axis);
    return {geometry.Offset(part), geometry.Length(part)};
  }
  return {0, value.shape[dim]};
}

}  // namespace

Extent RowsOf(const Value& value, const Mesh& mesh, int rank) {
  return value.shape.size() == 2 ? ExtentOf(value, 0, mesh, rank) : Extent{0, 1};
}

Extent ColumnsOf(const Value& value, const Mesh& mesh, int rank) {
  if (value.shape.empty()) return {0, 1};
  return ExtentOf(value, static_cast<int>(value.shape.size()) - 1, mesh, rank);
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
  const int64_t begin = geometry.Offset(member);
  const int64_t length = geometry.Length(member);
  const bool rows = value.shape.size() == 2 && dim == 0;
  return rows ? whole.Sub(begin, 0, length, whole.columns)
              : whole.Sub(0, begin, whole.rows, length);
}

std::vector<int64_t> BlockCounts(const View& whole, const Value& value, int dim, int members) {
  std::vector<int64_t> counts;
  for (int member = 0; member < members; ++member) {
    counts.push_back(BlockOf(whole, value, dim, members, member).size());
  }
  return counts;
}

}  // namespace tp
