// Which part of a value a rank of a mesh holds.
#pragma once

#include <cstdint>
#include <vector>

#include "tp/core/mesh.h"
#include "tp/core/shard_geometry.h"
#include "tp/core/sum_order.h"
#include "tp/program/program.h"
#include "tp/schedule/schedule.h"

namespace tp {

// Elements [begin, begin + length) of a dimension.
struct Extent {
  int64_t begin = 0;
  int64_t length = 0;
};

// What `rank` holds of dimension `dim`.
Extent ExtentOf(const Value& value, int dim, const Mesh& mesh, int rank);
// The sizes of what it holds.
Shape LocalShape(const Value& value, const Mesh& mesh, int rank);

// The blocks of dimension `dim` that `rank` holds. Parts must be unions of blocks
// (tp/core/sum_order.h).
BlockRange BlocksOf(const Value& value, int dim, const Mesh& mesh, int rank);

// How the axes that cut dimension `dim` cut it all together, and which of the parts `rank` has.
ShardGeometry GeometryOf(const Value& value, int dim, const Mesh& mesh);
int PartOf(const Value& value, int dim, const Mesh& mesh, int rank);

// How `axis`, the innermost that cuts a dimension of a value, cuts what its group holds of it:
// where the part of each member of the group begins in that, and how long it is.
class GroupCut {
 public:
  // `value` is Shard(dim) on `axis`; the group is that of `rank`.
  GroupCut(const Value& value, const Axis& axis, const Mesh& mesh, int rank);

  int dim() const { return dim_; }
  int members() const { return members_; }
  int64_t Offset(int member) const { return all_.Offset(first_ + member) - all_.Offset(first_); }
  int64_t Length(int member) const { return all_.Length(first_ + member); }

  // The part of `whole`, what the group holds, that `member` owns.
  View PartOf(const View& whole, int member) const {
    return whole.Sub(dim_, Offset(member), Length(member));
  }
  // How many elements each member owns so.
  std::vector<int64_t> Counts(const View& whole) const;

 private:
  int dim_;
  int members_;
  ShardGeometry all_;
  int first_;  // the part of the group's first member
};

}  // namespace tp
