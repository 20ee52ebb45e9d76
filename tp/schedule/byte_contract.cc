#include "tp/schedule/byte_contract.h"

#include <glog/logging.h>

#include <optional>

#include "tp/core/shard_geometry.h"
#include "tp/core/sum_order.h"

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
      int64_t others = 1;
      for (int dim = 0; dim < static_cast<int>(shape.size()); ++dim) {
        if (dim != from.dim && dim != to.dim) others *= shape[dim];
      }
      return elements - kept * others;
    }
    case CollectiveKind::kBroadcast:
    case CollectiveKind::kBarrier:
      break;
  }
  LOG(FATAL) << "no redistribute is a " << Name(kind);
}

// Elements that a group of `members` sends to bring all nodes of `elements` sums to where they are
// added up, each member keeping those of its own part.
int64_t NodesSent(int64_t elements, int members) {
  const ShardGeometry parts(elements, members);
  int64_t sent = 0;
  for (int i = 0; i < members; ++i) {
    const auto nodes = static_cast<int64_t>(LargestNodes(BlocksOfShard(i, members)).size());
    sent += nodes * (elements - parts.Length(i));
  }
  return sent;
}

// The two collectives of a sum tree over `axis`.
void AddSumTree(const Program& program, const Op& op, Axis axis, const Mesh& mesh,
                std::vector<ContractEntry>& entries) {
  const Value& in = program.value(op.inputs[0]);
  const Value& out = program.value(op.outputs[0]);
  const Axis other = axis == Axis::kTp ? Axis::kDp : Axis::kTp;
  const Placement across = in.placements[other];
  const int members = mesh.Size(axis);
  int64_t nodes = 0;
  int64_t sums = 0;
  for (int group = 0; group < mesh.Size(other); ++group) {
    int64_t elements = NumElements(in.shape);
    if (IsShard(across) && elements > 0) {
      const int64_t size = in.shape[across.dim];
      elements = elements / size * ShardGeometry(size, mesh.Size(other)).Length(group);
    }
    nodes += NodesSent(elements, members);
    sums += (members - 1) * elements;
  }
  entries.push_back({out.name, CollectiveKind::kAllToAll, axis, op.phase,
                     nodes * SizeOf(AccumulatorOf(in.dtype)), op.outputs[0]});
  entries.push_back({out.name, CollectiveKind::kAllGather, axis, op.phase, sums * SizeOf(in.dtype),
                     op.outputs[0]});
}

}  // namespace

std::vector<ContractEntry> ByteContract(const Program& program, const Mesh& mesh) {
  std::vector<ContractEntry> entries;
  for (const Op& op : program.ops()) {
    if (!op.Is(kRedistribute)) continue;
    const Value& in = program.value(op.inputs[0]);
    const Value& out = program.value(op.outputs[0]);
    for (Axis axis : kAllAxes) {
      const Placement from = in.placements[axis];
      const Placement to = out.placements[axis];
      const int members = mesh.Size(axis);
      if (from == to || members == 1) continue;
      const std::optional<CollectiveKind> kind = KindOf(from, to);
      if (!kind) continue;
      if (program.IsSumTree(op.inputs[0])) {
        AddSumTree(program, op, axis, mesh, entries);
        continue;
      }
      // Along the other axis each group moves its shard, or each moves a whole copy.
      const Axis other = axis == Axis::kTp ? Axis::kDp : Axis::kTp;
      const int64_t copies = IsShard(in.placements[other]) ? 1 : mesh.Size(other);
      const int64_t elements = copies * SentByOneGroup(*kind, in.shape, from, to, members);
      entries.push_back(
          {out.name, *kind, axis, op.phase, elements * SizeOf(in.dtype), op.outputs[0]});
    }
  }
  return entries;
}

}  // namespace tp
