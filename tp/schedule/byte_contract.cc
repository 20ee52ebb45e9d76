#include "tp/schedule/byte_contract.h"

#include <glog/logging.h>

#include <optional>

#include "tp/core/shard_geometry.h"

namespace tp {
namespace {

std::optional<CollectiveKind> KindOf(Placement from, Placement to) {
  if (IsPartial(from)) {
    return IsReplicate(to) ? CollectiveKind::kAllReduce : CollectiveKind::kReduceScatter;
  }
  if (!IsShard(from)) return std::nullopt;
  return IsReplicate(to) ? CollectiveKind::kAllGather : CollectiveKind::kAllToAll;
}

// Elements sent over one axis if the tensor lay whole on the other one.
int64_t SentByOneGroup(CollectiveKind kind, const Shape& shape, Placement from, Placement to,
                       int members) {
  const int64_t elements = NumElements(shape);
  switch (kind) {
    case CollectiveKind::kAllReduce:
      return 2 * (members - 1) * elements;
    case CollectiveKind::kReduceScatter:
    case CollectiveKind::kAllGather:
      return (members - 1) * elements;
    case CollectiveKind::kAllToAll: {
      const ShardGeometry a(shape[from.dim], members);
      const ShardGeometry b(shape[to.dim], members);
      int64_t kept = 0;
      for (int i = 0; i < members; ++i) kept += a.Length(i) * b.Length(i);
      return elements - kept;
    }
    case CollectiveKind::kBroadcast:
    case CollectiveKind::kBarrier:
      break;
  }
  LOG(FATAL) << "no redistribute is a " << Name(kind);
}

}  // namespace

std::vector<ContractEntry> ByteContract(const Program& program, const Mesh& mesh) {
  std::vector<ContractEntry> entries;
  for (const Op& op : program.ops()) {
    if (op.kind != OpKind::kRedistribute) continue;
    const Value& in = program.value(op.inputs[0]);
    const Value& out = program.value(op.outputs[0]);
    for (Axis axis : kAllAxes) {
      const Placement from = in.placements[axis];
      const Placement to = out.placements[axis];
      const int members = mesh.Size(axis);
      if (from == to || members == 1) continue;
      const std::optional<CollectiveKind> kind = KindOf(from, to);
      if (!kind) continue;
      // Along the other axis each group moves its shard, or each moves a whole copy.
      const Axis other = axis == Axis::kTp ? Axis::kDp : Axis::kTp;
      const int64_t copies = IsShard(in.placements[other]) ? 1 : mesh.Size(other);
      const int64_t elements = copies * SentByOneGroup(*kind, in.shape, from, to, members);
      entries.push_back({out.name, *kind, axis, op.phase, elements * SizeOf(in.dtype)});
    }
  }
  return entries;
}

}  // namespace tp
