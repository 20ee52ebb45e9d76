#include "tp/schedule/lower_redistribute.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tp/core/shard_geometry.h"
#include "tp/schedule/local_part.h"
#include "tp/schedule/sum_exchange.h"

namespace tp {
namespace {

Placement From(const ScheduleDraft& draft, const Op& op, Axis axis) {
  return draft.program().value(op.inputs[0]).placements[axis];
}
Placement To(const ScheduleDraft& draft, const Op& op, Axis axis) {
  return draft.program().value(op.outputs[0]).placements[axis];
}

// Whether nothing but products read `id`, and those as what they add.
bool IsOnlyAdded(const Program& program, ValueId id) {
  const std::vector<int>& readers = program.ReadersOf(id);
  return !program.IsResult(id) && std::all_of(readers.begin(), readers.end(), [&](int reader) {
    const Op& op = program.ops()[reader];
    const auto use = std::find(op.inputs.begin(), op.inputs.end(), id);
    return op.def->action() == Action::kGemm && use - op.inputs.begin() == 2;
  });
}

void LowerToPartial(const Op& op, ScheduleDraft& draft, Axis axis) {
  const ValueId out = op.outputs[0];
  if (draft.Self(axis) == 0) {
    draft.SetView(out, draft.ViewOf(op.inputs[0]));
  } else if (!IsOnlyAdded(draft.program(), out)) {
    // As the first rank's lies, so that all that follows lies alike on every rank.
    const View& first = draft.ViewOf(op.inputs[0]);
    Order& order = draft.OrderOf(out);
    if (!IsPacked(first, order)) order = PackedOrder(first).value_or(order);
    const View value = draft.Define(out);
    // A product without terms; what is no matrix is filled as one row.
    const View zeros =
        value.rank() == 2 ? value : MatrixView(value.buffer, 0, 1, value.size(), value.size(), 1);
    View a = zeros, b = zeros;
    a.dims[1].size = b.dims[0].size = 0;
    draft.Emit(Action::kGemm, op, {a, b}, {zeros});
  }
}

bool MakesPartial(const ScheduleDraft& draft, const Op& op) {
  return std::ranges::any_of(
      draft.program().value(op.outputs[0]).placements.entries(), [&](const auto& entry) {
        return IsReplicate(From(draft, op, entry.axis)) && IsPartial(entry.placement);
      });
}

// Whether a collective may overwrite what it reads: nobody else reads it, nor what it was handed
// on from in the same memory.
bool MayOverwrite(const ScheduleDraft& draft, ValueId id) {
  const Op& op = draft.program().ops()[draft.program().DefinitionOf(id)];
  if (draft.program().UsesOf(id) != 1 || op.IsSource()) {
    return false;
  }
  // What one rank has in the memory of another value and the others as zeros: all do alike.
  if (op.Is(kRedistribute) && MakesPartial(draft, op)) return false;
  return std::all_of(op.inputs.begin(), op.inputs.end(), [&](ValueId in) {
    return !draft.HasView(in) || draft.ViewOf(in).buffer != draft.ViewOf(id).buffer ||
           MayOverwrite(draft, in);
  });
}

void LowerAllReduce(const Op& op, ScheduleDraft& draft, Axis axis) {
  const ValueId in = op.inputs[0];
  View send = draft.ViewOf(in);
  const bool packed = PackedOrder(send).has_value();
  if (!packed) {
    send = draft.InOrder(op, send, draft.OrderOf(in), draft.program().value(in).name + ".packed");
  }
  const bool in_place = !packed || MayOverwrite(draft, in);
  const ValueId out = op.outputs[0];
  if (!in_place && !IsPacked(send, draft.OrderOf(out))) {
    draft.OrderOf(out) = *PackedOrder(send);
  }
  draft.SetView(out, in_place ? send : draft.AllocateValue(out));
  draft.EmitCollective(op, axis, CollectiveKind::kAllReduce, send, draft.ViewOf(out), {send.size()})
      .call.reduction = From(draft, op, axis).reduction;
}

// An all_gather in place writes the other members' blocks, and nothing else.
template <typename BlockOfMember>
void WritesOfOthers(const ScheduleDraft& draft, ScheduledOp& gather, Axis axis,
                    const BlockOfMember& block) {
  gather.writes.clear();
  for (int member = 0; member < draft.mesh().Size(axis); ++member) {
    if (member != draft.Self(axis)) gather.writes.push_back(block(member));
  }
}

// The nodes' elements for the first member, then those for the second, ...
View ByMember(const Op& op, ScheduleDraft& draft, Axis axis, const View& nodes,
              const ShardGeometry& parts) {
  if (nodes.rows() == 1) return nodes;
  const View all = draft.Allocate(draft.program().value(op.outputs[0]).name + ".packed",
                                  draft.TypeOf(nodes.buffer), nodes.size());
  for (int i = 0; i < parts.parts(); ++i) {
    const int64_t length = parts.Length(i);
    const View packed =
        MatrixView(all.buffer, nodes.rows() * parts.Offset(i), nodes.rows(), length, length, 1);
    draft.Emit(Action::kCopy, op, {nodes.Sub(1, parts.Offset(i), length)}, {packed}).stream =
        draft.CommunicationOn(axis);
  }
  return all;
}

// See SumExchange. Parts are cut from memory as it lies, so any shape and order will do.
void LowerSumTree(const Op& op, ScheduleDraft& draft, Axis axis) {
  const ValueId in = op.inputs[0], out = op.outputs[0];
  const View nodes = draft.ViewOf(in);
  const DType wide = draft.TypeOf(nodes.buffer);
  const int self = draft.Self(axis);
  const SumExchange exchange(nodes.columns(), draft.mesh().Size(axis));
  const View send = ByMember(op, draft, axis, nodes, exchange.parts);
  const View received = draft.Allocate(
      draft.program().value(out).name + ".nodes", wide,
      {static_cast<int64_t>(exchange.nodes.size()), exchange.parts.Length(self)}, Order::Own(2));
  draft.EmitCollective(op, axis, CollectiveKind::kAllToAll, send, received, exchange.node_counts)
      .call.dtype = wide;
  draft.OrderOf(out) = draft.OrderOf(in);
  const Value& value = draft.program().value(in);
  const Placement to = To(draft, op, axis);
  // What is to be a shard is a part of the whole sum, which every member has for a while.
  const View sums =
      IsShard(to) ? draft.Allocate(draft.program().value(out).name + ".whole", value.dtype,
                                   LocalShape(value, draft.mesh(), draft.rank()), draft.OrderOf(in))
                  : draft.AllocateValue(out);
  draft.SetView(out, IsShard(to) ? draft.CutOf(out, axis).PartOf(sums, self) : sums);
  const View whole = MatrixView(sums.buffer, 0, 1, nodes.columns(), nodes.columns(), 1);
  const auto part = [&](int member) {
    return whole.Sub(1, exchange.parts.Offset(member), exchange.parts.Length(member));
  };
  ScheduledOp& sum = draft.Emit(Action::kSumBlocks, op, {received}, {part(self)});
  sum.sum.nodes = exchange.nodes;
  sum.stream = draft.CommunicationOn(axis);  // what is computed meanwhile need not wait for it
  ScheduledOp& gather = draft.EmitCollective(op, axis, CollectiveKind::kAllGather, part(self),
                                             whole, exchange.sum_counts);
  WritesOfOthers(draft, gather, axis, part);
}

void LowerAllGather(const Op& op, ScheduleDraft& draft, Axis axis) {
  const ValueId in = op.inputs[0];
  const ValueId out = op.outputs[0];
  const Value& value = draft.program().value(out);
  const GroupCut cut = draft.CutOf(in, axis);
  const Order order = Order::Outermost(cut.dim(), value.shape.size());
  const bool in_place = draft.WholeOf(in) == out;
  const View send =
      draft.InOrder(op, draft.ViewOf(in), order, draft.program().value(in).name + ".packed");
  if (!in_place) draft.SetView(out, draft.AllocateValue(out));
  View whole = draft.ViewOf(out);
  if (!IsPacked(whole, order)) {
    whole = draft.Allocate(value.name + ".gathered", value.dtype, SizesOf(whole), order);
  }
  ScheduledOp& gather =
      draft.EmitCollective(op, axis, CollectiveKind::kAllGather, send, whole, cut.Counts(whole));
  if (in_place) {
    WritesOfOthers(draft, gather, axis, [&](int member) { return cut.PartOf(whole, member); });
  }
  if (!(whole == draft.ViewOf(out))) draft.Emit(Action::kCopy, op, {whole}, {draft.ViewOf(out)});
}

void LowerReduceScatter(const Op& op, ScheduleDraft& draft, Axis axis) {
  const ValueId in = op.inputs[0];
  const ValueId out = op.outputs[0];
  const Value& value = draft.program().value(in);
  const GroupCut cut = draft.CutOf(out, axis);
  const Order order = Order::Outermost(cut.dim(), value.shape.size());
  const View whole = draft.InOrder(op, draft.ViewOf(in), order, value.name + ".packed");
  const bool in_place = !(whole == draft.ViewOf(in)) || MayOverwrite(draft, in);
  if (in_place) {
    draft.SetView(out, cut.PartOf(whole, draft.Self(axis)));
  } else {
    draft.OrderOf(out) = order;
    draft.SetView(out, draft.AllocateValue(out));
  }
  ScheduledOp& scatter = draft.EmitCollective(op, axis, CollectiveKind::kReduceScatter, whole,
                                              draft.ViewOf(out), cut.Counts(whole));
  scatter.call.reduction = From(draft, op, axis).reduction;
  if (in_place) scatter.writes = {whole};  // the other blocks are its scratch
}

// Sends blocks of columns (say) of this rank's rows; what comes back are blocks of the others'
// rows, each with the sent dimension outermost, which are then copied into place. Other dimensions
// go along.
void LowerAllToAll(const Op& op, ScheduleDraft& draft, Axis axis) {
  const ValueId in = op.inputs[0];
  const ValueId out = op.outputs[0];
  const Value& value = draft.program().value(in);
  const GroupCut rows = draft.CutOf(in, axis);
  const GroupCut columns = draft.CutOf(out, axis);
  const Order order = Order::Outermost(columns.dim(), value.shape.size());
  const int members = rows.members();
  const View send = draft.InOrder(op, draft.ViewOf(in), order, value.name + ".packed");
  draft.SetView(out, draft.AllocateValue(out));
  const View whole = draft.ViewOf(out);
  const View staging =
      draft.Allocate(draft.program().value(out).name + ".blocks", value.dtype, whole.size());
  int64_t others = 1;  // elements at one index of both dimensions
  for (int dim = 0; dim < whole.rank(); ++dim) {
    if (dim != rows.dim() && dim != columns.dim()) others *= whole.dims[dim].size;
  }
  std::vector<int64_t> counts;
  for (int i = 0; i < members; ++i) {
    for (int j = 0; j < members; ++j) {
      counts.push_back(rows.Length(i) * columns.Length(j) * others);
    }
  }
  draft.EmitCollective(op, axis, CollectiveKind::kAllToAll, send, staging, std::move(counts));
  int64_t offset = 0;
  for (int i = 0; i < members; ++i) {
    const View target = rows.PartOf(whole, i);
    const View block = PackedView(staging.buffer, offset, SizesOf(target), order);
    offset += target.size();
    if (!target.empty()) draft.Emit(Action::kCopy, op, {block}, {target});
  }
}

}  // namespace

void LowerRedistribute(const Op& op, ScheduleDraft& draft) {
  const ValueId in = op.inputs[0];
  const ValueId out = op.outputs[0];
  const std::optional<Axis> axis = ActiveAxis(draft.program(), draft.mesh(), op);
  if (!axis) {
    draft.SetView(out, draft.ViewOf(in));
    return;
  }
  const Placement from = From(draft, op, *axis);
  const Placement to = To(draft, op, *axis);
  if (IsReplicate(from) && IsPartial(to)) {
    LowerToPartial(op, draft, *axis);
  } else if (IsReplicate(from)) {
    draft.SetView(out, draft.CutOf(out, *axis).PartOf(draft.ViewOf(in), draft.Self(*axis)));
  } else if (IsPartial(from) && draft.program().IsSumTree(in)) {
    LowerSumTree(op, draft, *axis);
  } else if (IsPartial(from) && IsReplicate(to)) {
    LowerAllReduce(op, draft, *axis);
  } else if (IsPartial(from)) {
    LowerReduceScatter(op, draft, *axis);
  } else if (IsReplicate(to)) {
    LowerAllGather(op, draft, *axis);
  } else {
    LowerAllToAll(op, draft, *axis);
  }
}

}  // namespace tp
