#include "tp/schedule/byte_contract.h"

#include <algorithm>
#include <optional>

#include "tp/core/shard_geometry.h"
#include "tp/core/sum_order.h"
#include "tp/schedule/local_part.h"

namespace tp {
namespace {

std::optional<CollectiveKind> KindOf(Placement from, Placement to) {
  if (IsPartial(from)) {
    return IsReplicate(to) ? CollectiveKind::kAllReduce : CollectiveKind::kReduceScatter;
  }
  if (!IsShard(from)) return std::nullopt;
  return IsReplicate(to) ? CollectiveKind::kAllGather : CollectiveKind::kAllToAll;
}

// Elements of the value that all ranks together hold, and those that each would hold after the
// all_to_all too: only the rest has to move.
int64_t SentByAllToAll(const Value& in, const Value& out, const Mesh& mesh) {
  int64_t sent = 0;
  for (int rank = 0; rank < mesh.world(); ++rank) {
    int64_t held = 1;
    int64_t kept = 1;
    for (int dim = 0; dim < static_cast<int>(in.shape.size()); ++dim) {
      const Extent before = ExtentOf(in, dim, mesh, rank);
      const Extent after = ExtentOf(out, dim, mesh, rank);
      const int64_t begin = std::max(before.begin, after.begin);
      const int64_t end = std::min(before.begin + before.length, after.begin + after.length);
      held *= before.length;
      kept *= std::max<int64_t>(end - begin, 0);
    }
    sent += held - kept;
  }
  return sent;
}

// Elements that all groups along `axis` send.
int64_t Sent(CollectiveKind kind, const Value& in, const Value& out, Axis axis, const Mesh& mesh) {
  if (kind == CollectiveKind::kAllToAll) return SentByAllToAll(in, out, mesh);
  // Along the other axes each group moves its shard, or each moves a whole copy.
  int64_t copies = 1;
  for (const Axis& other : mesh.axes()) {
    if (other != axis && !IsShard(in.placements[other])) copies *= mesh.Size(other);
  }
  const int64_t once = copies * (mesh.Size(axis) - 1) * NumElements(in.shape);
  return kind == CollectiveKind::kAllReduce ? 2 * once : once;
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
  const int members = mesh.Size(axis);
  int64_t nodes = 0;
  int64_t sums = 0;
  for (int rank = 0; rank < mesh.world(); ++rank) {
    if (mesh.Coordinate(rank, axis) > 0) continue;  // once a group
    const int64_t elements = NumElements(LocalShape(in, mesh, rank));
    nodes += NodesSent(elements, members);
    sums += (members - 1) * elements;
  }
  entries.push_back({out.name, CollectiveKind::kAllToAll, axis, op.phase,
                     nodes * SizeOf(AccumulatorOf(in.dtype)), op.outputs[0], true});
  entries.push_back({out.name, CollectiveKind::kAllGather, axis, op.phase, sums * SizeOf(in.dtype),
                     op.outputs[0], true});
}

}  // namespace

bool Serves(const ScheduledOp& op, const ContractEntry& entry) {
  const bool in_turns =
      op.call.kind == CollectiveKind::kAllToAll && !entry.of_sum_tree &&
      (entry.kind == CollectiveKind::kReduceScatter || entry.kind == CollectiveKind::kAllGather);
  const bool kind = op.call.kind == entry.kind || in_turns;
  return op.action == Action::kCollective && kind && op.value == entry.value &&
         op.axis == entry.axis;
}

std::vector<ContractEntry> ByteContract(const Program& program, const Mesh& mesh) {
  std::vector<ContractEntry> entries;
  for (const Op& op : program.ops()) {
    if (!op.Is(kRedistribute)) continue;
    const Value& in = program.value(op.inputs[0]);
    const Value& out = program.value(op.outputs[0]);
    for (const Axis& axis : mesh.axes()) {
      const Placement from = in.placements[axis];
      const Placement to = out.placements[axis];
      if (from == to || mesh.Size(axis) == 1) continue;
      const std::optional<CollectiveKind> kind = KindOf(from, to);
      if (!kind) continue;
      if (program.IsSumTree(op.inputs[0])) {
        AddSumTree(program, op, axis, mesh, entries);
        continue;
      }
      const int64_t elements = Sent(*kind, in, out, axis, mesh);
      entries.push_back(
          {out.name, *kind, axis, op.phase, elements * SizeOf(in.dtype), op.outputs[0]});
    }
  }
  return entries;
}

}  // namespace tp
