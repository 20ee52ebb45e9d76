#include "tp/schedule/lower.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "tp/core/shard_geometry.h"
#include "tp/schedule/hazards.h"
#include "tp/schedule/layout.h"
#include "tp/schedule/local_part.h"
#include "tp/schedule/overlap.h"
#include "tp/schedule/sum_exchange.h"

namespace tp {
namespace {

class Lowering {
 public:
  Lowering(const Program& program, const Mesh& mesh, int rank, const LowerOptions& options)
      : program_(program),
        mesh_(mesh),
        rank_(rank),
        options_(options),
        layout_(ChooseLayout(program, mesh)),
        views_(program.values().size()) {
    schedule_.rank = rank;
    schedule_.sum_order = program.sum_order();
  }

  Schedule Run() {
    for (const Op& op : program_.ops()) LowerOp(op);
    for (const Op& op : program_.ops()) {
      if (op.kind == OpKind::kInput || op.kind == OpKind::kParameter) Bind(op.outputs[0]);
    }
    for (ValueId id : program_.results()) Bind(id);
    if (options_.sum_part_bytes > 0) CutSums(schedule_, options_.sum_part_bytes);
    OrderConflicts(schedule_);
    return std::move(schedule_);
  }

 private:
  Placement From(const Op& op, Axis axis) const {
    return program_.value(op.inputs[0]).placements[axis];
  }
  Placement To(const Op& op, Axis axis) const {
    return program_.value(op.outputs[0]).placements[axis];
  }

  Extent Rows(const Value& value) const { return RowsOf(value, mesh_, rank_); }
  Extent Columns(const Value& value) const { return ColumnsOf(value, mesh_, rank_); }

  View Allocate(const std::string& name, DType dtype, int64_t rows, int64_t columns, Order order) {
    schedule_.buffers.push_back({name, dtype, rows * columns});
    const auto buffer = static_cast<BufferId>(schedule_.buffers.size()) - 1;
    if (order == Order::kRowsOutermost) return {buffer, 0, rows, columns, columns, 1};
    return {buffer, 0, rows, columns, 1, rows};
  }

  View AllocateValue(ValueId id) {
    const Value& value = program_.value(id);
    return Allocate(value.name, value.dtype, Rows(value).length, Columns(value).length,
                    layout_.orders[id]);
  }

  // The memory of a value that an op is about to write.
  View Define(ValueId id) {
    if (layout_.whole_of[id] >= 0) {
      const Op& gather = program_.ops()[program_.DefinitionOf(layout_.whole_of[id])];
      const Axis axis = *ActiveAxis(program_, mesh_, gather);
      views_[layout_.whole_of[id]] = AllocateValue(layout_.whole_of[id]);
      views_[id] = BlockOf(*views_[layout_.whole_of[id]], program_.value(id),
                           From(gather, axis).dim, mesh_.Size(axis), mesh_.Coordinate(rank_, axis));
    } else {
      views_[id] = AllocateValue(id);
    }
    return *views_[id];
  }

  const View& ViewOf(ValueId id) const {
    CHECK(views_[id]) << program_.value(id).name;
    return *views_[id];
  }

  ScheduledOp& Emit(Action action, const Op& op, std::vector<View> reads,
                    std::vector<View> writes) {
    ScheduledOp scheduled;
    scheduled.action = action;
    scheduled.name = program_.value(op.outputs[0]).name;
    scheduled.phase = op.phase;
    scheduled.reads = std::move(reads);
    scheduled.writes = std::move(writes);
    scheduled.scale = op.scale;
    schedule_.ops.push_back(std::move(scheduled));
    return schedule_.ops.back();
  }

  void LowerOp(const Op& op) {
    switch (op.kind) {
      case OpKind::kInput:
      case OpKind::kParameter:
        Define(op.outputs[0]);
        return;
      case OpKind::kMatMul: {
        const View a = ViewOf(op.inputs[0]);
        const View b = ViewOf(op.inputs[1]);
        std::vector<View> reads = {op.transpose_a ? a.Transposed() : a,
                                   op.transpose_b ? b.Transposed() : b};
        if (op.inputs.size() == 3 && views_[op.inputs[2]]) reads.push_back(ViewOf(op.inputs[2]));
        return LowerSum(op, Action::kGemm, Action::kBlockedGemm, std::move(reads),
                        op.transpose_a ? 0 : 1);
      }
      case OpKind::kAddBias:
        return LowerSimple(Action::kAddBias, op);
      case OpKind::kMseLoss:
        return LowerSimple(Action::kMseLoss, op);
      case OpKind::kMseGrad:
        return LowerSimple(Action::kMseGrad, op);
      case OpKind::kMseLossGrad:
        return LowerSimple(Action::kMseLossGrad, op);
      case OpKind::kSumRows:
        return LowerSum(op, Action::kSumRows, Action::kBlockedSumRows, {ViewOf(op.inputs[0])}, 0);
      case OpKind::kSgdUpdate: {
        const View w = ViewOf(op.inputs[0]);
        views_[op.outputs[0]] = w;
        Emit(Action::kSgd, op, {w, ViewOf(op.inputs[1])}, {w});
        return;
      }
      case OpKind::kRedistribute:
        return LowerRedistribute(op);
    }
  }

  void LowerSimple(Action action, const Op& op) {
    std::vector<View> reads;
    for (ValueId id : op.inputs) reads.push_back(ViewOf(id));
    std::vector<View> writes;
    for (ValueId id : op.outputs) writes.push_back(Define(id));
    Emit(action, op, std::move(reads), std::move(writes));
  }

  // A sum over dimension `dim` of the first input: by `free` in any order, or by `blocked` along
  // the tree, as far as this rank's blocks go.
  void LowerSum(const Op& op, Action free, Action blocked, std::vector<View> reads, int dim) {
    const ValueId out = op.outputs[0];
    if (program_.sum_order() == SumOrder::kFast) {
      Emit(free, op, std::move(reads), {Define(out)});
      return;
    }
    const Value& summed = program_.value(op.inputs[0]);
    const BlockRange range = BlocksOf(summed, dim, mesh_, rank_);
    const BlockedSum sum{summed.shape[dim], LargestNodes(range)};
    std::vector<View> nodes =
        range == BlockRange() ? std::vector<View>{Define(out)} : DefineNodes(out, sum.nodes.size());
    Emit(blocked, op, std::move(reads), std::move(nodes)).sum = sum;
  }

  // The memory of a value's partial sums, in the accumulator's type; its view has a row a node.
  std::vector<View> DefineNodes(ValueId id, size_t count) {
    const Value& value = program_.value(id);
    const auto rows = static_cast<int64_t>(count);
    const View first = AllocateValue(id);
    schedule_.buffers.back().dtype = AccumulatorOf(value.dtype);
    schedule_.buffers.back().elements *= rows;
    views_[id] = View{first.buffer, 0, rows, first.size(), first.size(), 1};
    std::vector<View> nodes(count, first);
    for (int64_t i = 0; i < rows; ++i) nodes[i].offset = i * first.size();
    return nodes;
  }

  void LowerRedistribute(const Op& op) {
    const ValueId in = op.inputs[0];
    const ValueId out = op.outputs[0];
    const std::optional<Axis> axis = ActiveAxis(program_, mesh_, op);
    if (!axis) {
      views_[out] = ViewOf(in);
      return;
    }
    const Placement from = From(op, *axis);
    const Placement to = To(op, *axis);
    if (IsReplicate(from) && IsPartial(to)) {
      LowerToPartial(op, *axis);
    } else if (IsReplicate(from)) {
      views_[out] = BlockOf(ViewOf(in), program_.value(in), to.dim, mesh_.Size(*axis),
                            mesh_.Coordinate(rank_, *axis));
    } else if (IsPartial(from) && program_.IsSumTree(in)) {
      LowerSumTree(op, *axis);
    } else if (IsPartial(from) && IsReplicate(to)) {
      LowerAllReduce(op, *axis);
    } else if (IsPartial(from)) {
      LowerReduceScatter(op, *axis, to.dim);
    } else if (IsReplicate(to)) {
      LowerAllGather(op, *axis, from.dim);
    } else {
      LowerAllToAll(op, *axis, from.dim, to.dim);
    }
  }

  // Whether nothing but products read `id`, and those as their bias.
  bool IsOnlyBias(ValueId id) const {
    const auto& results = program_.results();
    return std::find(results.begin(), results.end(), id) == results.end() &&
           std::all_of(program_.ops().begin(), program_.ops().end(), [&](const Op& op) {
             const auto use = std::find(op.inputs.begin(), op.inputs.end(), id);
             return use == op.inputs.end() ||
                    (op.kind == OpKind::kMatMul && use - op.inputs.begin() == 2);
           });
  }

  bool MakesPartial(const Op& op) const {
    return std::any_of(kAllAxes.begin(), kAllAxes.end(), [&](Axis axis) {
      return IsReplicate(From(op, axis)) && IsPartial(To(op, axis));
    });
  }

  void LowerToPartial(const Op& op, Axis axis) {
    const ValueId out = op.outputs[0];
    if (mesh_.Coordinate(rank_, axis) == 0) {
      views_[out] = ViewOf(op.inputs[0]);
    } else if (!IsOnlyBias(out)) {
      const View zeros = Define(out);  // a product without terms
      View a = zeros, b = zeros;
      a.columns = b.rows = 0;
      Emit(Action::kGemm, op, {a, b}, {zeros});
    }
  }

  ScheduledOp& EmitCollective(const Op& op, Axis axis, CollectiveKind kind, const View& send,
                              const View& receive, std::vector<int64_t> counts) {
    ScheduledOp& scheduled = Emit(Action::kCollective, op, {send}, {receive});
    scheduled.stream = Stream::kCommunication;
    scheduled.call.kind = kind;
    scheduled.call.dtype = program_.value(op.outputs[0]).dtype;
    scheduled.call.counts = std::move(counts);
    scheduled.send = send;
    scheduled.receive = receive;
    scheduled.axis = axis;
    scheduled.group = mesh_.Group(rank_, axis);
    return scheduled;
  }

  // Whether a collective may overwrite what it reads: nobody else reads it, nor what it was handed
  // on from in the same memory.
  bool MayOverwrite(ValueId id) const {
    const Op& op = program_.ops()[program_.DefinitionOf(id)];
    if (program_.UsesOf(id) != 1 || op.kind == OpKind::kInput || op.kind == OpKind::kParameter) {
      return false;
    }
    // What one rank has in the memory of another value and the others as zeros: all do alike.
    if (op.kind == OpKind::kRedistribute && MakesPartial(op)) return false;
    return std::all_of(op.inputs.begin(), op.inputs.end(), [&](ValueId in) {
      return !views_[in] || ViewOf(in).buffer != ViewOf(id).buffer || MayOverwrite(in);
    });
  }

  // `view`, or a copy of it that is packed in `order`.
  View InOrder(const Op& op, const View& view, Order order, const std::string& name) {
    if (IsPacked(view, order)) return view;
    const View packed =
        Allocate(name, program_.value(op.inputs[0]).dtype, view.rows, view.columns, order);
    Emit(Action::kCopy, op, {view}, {packed});
    return packed;
  }

  void LowerAllReduce(const Op& op, Axis axis) {
    const ValueId in = op.inputs[0];
    View send = ViewOf(in);
    const bool packed =
        IsPacked(send, Order::kRowsOutermost) || IsPacked(send, Order::kColumnsOutermost);
    if (!packed) send = InOrder(op, send, layout_.orders[in], program_.value(in).name + ".packed");
    const bool in_place = !packed || MayOverwrite(in);
    const ValueId out = op.outputs[0];
    if (!in_place && !IsPacked(send, layout_.orders[out])) {
      layout_.orders[out] = Opposite(layout_.orders[out]);
    }
    views_[out] = in_place ? send : AllocateValue(out);
    EmitCollective(op, axis, CollectiveKind::kAllReduce, send, *views_[out], {send.size()});
  }

  // See SumExchange. Parts are cut from memory as it lies, so any shape and order will do.
  void LowerSumTree(const Op& op, Axis axis) {
    const ValueId out = op.outputs[0];
    const View nodes = ViewOf(op.inputs[0]);
    const DType wide = schedule_.buffers[nodes.buffer].dtype;
    const int self = mesh_.Coordinate(rank_, axis);
    const SumExchange exchange(nodes.columns, mesh_.Size(axis));
    const View send = ByMember(op, nodes, exchange.parts);
    const View received = Allocate(program_.value(out).name + ".nodes", wide,
                                   static_cast<int64_t>(exchange.nodes.size()),
                                   exchange.parts.Length(self), Order::kRowsOutermost);
    EmitCollective(op, axis, CollectiveKind::kAllToAll, send, received, exchange.node_counts)
        .call.dtype = wide;
    layout_.orders[out] = layout_.orders[op.inputs[0]];
    views_[out] = AllocateValue(out);
    const View whole{views_[out]->buffer, 0, 1, nodes.columns, nodes.columns, 1};
    const auto part = [&](int member) {
      return whole.Sub(0, exchange.parts.Offset(member), 1, exchange.parts.Length(member));
    };
    ScheduledOp& sum = Emit(Action::kSumBlocks, op, {received}, {part(self)});
    sum.sum.nodes = exchange.nodes;
    sum.stream = Stream::kCommunication;  // what is computed meanwhile need not wait for it
    ScheduledOp& gather = EmitCollective(op, axis, CollectiveKind::kAllGather, part(self), whole,
                                         exchange.sum_counts);
    WritesOfOthers(gather, axis, part);
  }

  // An all_gather in place writes the other members' blocks, and nothing else.
  template <typename BlockOfMember>
  void WritesOfOthers(ScheduledOp& gather, Axis axis, const BlockOfMember& block) const {
    gather.writes.clear();
    for (int member = 0; member < mesh_.Size(axis); ++member) {
      if (member != mesh_.Coordinate(rank_, axis)) gather.writes.push_back(block(member));
    }
  }

  // The nodes' elements for the first member, then those for the second, ...
  View ByMember(const Op& op, const View& nodes, const ShardGeometry& parts) {
    if (nodes.rows == 1) return nodes;
    const View all =
        Allocate(program_.value(op.outputs[0]).name + ".packed",
                 schedule_.buffers[nodes.buffer].dtype, 1, nodes.size(), Order::kRowsOutermost);
    for (int i = 0; i < parts.parts(); ++i) {
      const int64_t length = parts.Length(i);
      const View packed{all.buffer, nodes.rows * parts.Offset(i), nodes.rows, length, length, 1};
      Emit(Action::kCopy, op, {nodes.Sub(0, parts.Offset(i), nodes.rows, length)}, {packed})
          .stream = Stream::kCommunication;
    }
    return all;
  }

  void LowerAllGather(const Op& op, Axis axis, int dim) {
    const ValueId in = op.inputs[0];
    const ValueId out = op.outputs[0];
    const Value& value = program_.value(out);
    const Order order = Outermost(dim, value.shape.size());
    const bool in_place = layout_.whole_of[in] == out;
    const View send = InOrder(op, ViewOf(in), order, program_.value(in).name + ".packed");
    if (!in_place) views_[out] = AllocateValue(out);
    View whole = *views_[out];
    if (!IsPacked(whole, order)) {
      whole = Allocate(value.name + ".gathered", value.dtype, whole.rows, whole.columns, order);
    }
    ScheduledOp& gather = EmitCollective(op, axis, CollectiveKind::kAllGather, send, whole,
                                         BlockCounts(whole, value, dim, mesh_.Size(axis)));
    if (in_place) {
      WritesOfOthers(gather, axis, [&](int member) {
        return BlockOf(whole, value, dim, mesh_.Size(axis), member);
      });
    }
    if (!(whole == *views_[out])) Emit(Action::kCopy, op, {whole}, {*views_[out]});
  }

  void LowerReduceScatter(const Op& op, Axis axis, int dim) {
    const ValueId in = op.inputs[0];
    const ValueId out = op.outputs[0];
    const Value& value = program_.value(in);
    const Order order = Outermost(dim, value.shape.size());
    const View whole = InOrder(op, ViewOf(in), order, value.name + ".packed");
    const bool in_place = !(whole == ViewOf(in)) || MayOverwrite(in);
    if (in_place) {
      views_[out] = BlockOf(whole, value, dim, mesh_.Size(axis), mesh_.Coordinate(rank_, axis));
    } else {
      layout_.orders[out] = order;
      views_[out] = AllocateValue(out);
    }
    ScheduledOp& scatter =
        EmitCollective(op, axis, CollectiveKind::kReduceScatter, whole, *views_[out],
                       BlockCounts(whole, value, dim, mesh_.Size(axis)));
    if (in_place) scatter.writes = {whole};  // the other blocks are its scratch
  }

  // Sends blocks of columns (say) of this rank's rows; what comes back are blocks of the others'
  // rows, each with the sent dimension outermost, which are then copied into place.
  void LowerAllToAll(const Op& op, Axis axis, int from, int to) {
    const ValueId in = op.inputs[0];
    const ValueId out = op.outputs[0];
    const Value& value = program_.value(in);
    const Order order = Outermost(to, value.shape.size());
    const int members = mesh_.Size(axis);
    const ShardGeometry rows(value.shape[from], members);
    const ShardGeometry columns(value.shape[to], members);
    const View send = InOrder(op, ViewOf(in), order, value.name + ".packed");
    views_[out] = AllocateValue(out);
    const View whole = *views_[out];
    const View staging = Allocate(program_.value(out).name + ".blocks", value.dtype, 1,
                                  whole.size(), Order::kRowsOutermost);
    std::vector<int64_t> counts;
    for (int i = 0; i < members; ++i) {
      for (int j = 0; j < members; ++j) {
        counts.push_back(rows.Length(i) * columns.Length(j));
      }
    }
    EmitCollective(op, axis, CollectiveKind::kAllToAll, send, staging, std::move(counts));
    int64_t offset = 0;
    for (int i = 0; i < members; ++i) {
      const View target = BlockOf(whole, value, from, members, i);
      View block = target;
      block.buffer = staging.buffer;
      block.offset = offset;
      block.row_stride = order == Order::kRowsOutermost ? target.columns : 1;
      block.column_stride = order == Order::kRowsOutermost ? 1 : target.rows;
      offset += target.size();
      if (!target.empty()) Emit(Action::kCopy, op, {block}, {target});
    }
  }

  void Bind(ValueId id) {
    const Value& value = program_.value(id);
    schedule_.bindings.push_back({value.name, id, value.shape, value.dtype, value.placements,
                                  ViewOf(id), Rows(value).begin, Columns(value).begin});
  }

  const Program& program_;
  const Mesh& mesh_;
  const int rank_;
  const LowerOptions options_;
  Schedule schedule_;
  Layout layout_;
  std::vector<std::optional<View>> views_;  // by value
};

}  // namespace

StatusOr<Schedule> Lower(const Program& program, const Mesh& mesh, int rank,
                         const LowerOptions& options) {
  TP_RETURN_IF_ERROR(Verify(program));
  for (Axis axis : kAllAxes) {
    if (program.sum_order() == SumOrder::kFast || SplitsIntoBlocks(mesh.Size(axis))) continue;
    return InvalidArgument("the invariant order of sums takes a number of ranks that divides " +
                           std::to_string(kSumBlocks) + ", such as 1, 2, 3, 4, 6 or 8; " +
                           std::string(Name(axis)) + " is " + std::to_string(mesh.Size(axis)));
  }
  Schedule schedule = Lowering(program, mesh, rank, options).Run();
  Status status = CheckHazards(schedule);
  CHECK(status.ok()) << "lowering made a race: " << status.ToString();
  return schedule;
}

}  // namespace tp
