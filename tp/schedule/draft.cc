#include "tp/schedule/draft.h"

#include <glog/logging.h>

#include "tp/schedule/local_part.h"

namespace tp {

ScheduleDraft::ScheduleDraft(const Program& program, const Mesh& mesh, Layout layout, int rank)
    : program_(program),
      mesh_(mesh),
      rank_(rank),
      layout_(std::move(layout)),
      views_(program.values().size()) {
  schedule_.rank = rank;
  schedule_.sum_order = program.sum_order();
}

View ScheduleDraft::Allocate(const std::string& name, DType dtype, int64_t rows, int64_t columns,
                             Order order) {
  schedule_.buffers.push_back({name, dtype, rows * columns});
  const auto buffer = static_cast<BufferId>(schedule_.buffers.size()) - 1;
  if (order == Order::kRowsOutermost) return {buffer, 0, rows, columns, columns, 1};
  return {buffer, 0, rows, columns, 1, rows};
}

View ScheduleDraft::AllocateValue(ValueId id) {
  const Value& value = program_.value(id);
  return Allocate(value.name, value.dtype, RowsOf(value, mesh_, rank_).length,
                  ColumnsOf(value, mesh_, rank_).length, layout_.orders[id]);
}

View ScheduleDraft::Define(ValueId id) {
  if (layout_.whole_of[id] >= 0) {
    const Op& gather = program_.ops()[program_.DefinitionOf(layout_.whole_of[id])];
    const Axis axis = *ActiveAxis(program_, mesh_, gather);
    views_[layout_.whole_of[id]] = AllocateValue(layout_.whole_of[id]);
    views_[id] = BlockOf(*views_[layout_.whole_of[id]], program_.value(id),
                         program_.value(gather.inputs[0]).placements[axis].dim, mesh_.Size(axis),
                         mesh_.Coordinate(rank_, axis));
  } else {
    views_[id] = AllocateValue(id);
  }
  return *views_[id];
}

std::vector<View> ScheduleDraft::DefineNodes(ValueId id, size_t count) {
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

const View& ScheduleDraft::ViewOf(ValueId id) const {
  CHECK(views_[id]) << program_.value(id).name;
  return *views_[id];
}

ScheduledOp& ScheduleDraft::Emit(Action action, const Op& op, std::vector<View> reads,
                                 std::vector<View> writes) {
  ScheduledOp scheduled;
  scheduled.action = action;
  scheduled.value = op.outputs[0];
  scheduled.name = program_.value(scheduled.value).name;
  scheduled.phase = op.phase;
  scheduled.reads = std::move(reads);
  scheduled.writes = std::move(writes);
  scheduled.attributes = op.attributes;
  schedule_.ops.push_back(std::move(scheduled));
  return schedule_.ops.back();
}

ScheduledOp& ScheduleDraft::EmitCollective(const Op& op, Axis axis, CollectiveKind kind,
                                           const View& send, const View& receive,
                                           std::vector<int64_t> counts) {
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

View ScheduleDraft::InOrder(const Op& op, const View& view, Order order, const std::string& name) {
  if (IsPacked(view, order)) return view;
  const View packed =
      Allocate(name, program_.value(op.inputs[0]).dtype, view.rows, view.columns, order);
  Emit(Action::kCopy, op, {view}, {packed});
  return packed;
}

void ScheduleDraft::Bind(ValueId id) {
  const Value& value = program_.value(id);
  schedule_.bindings.push_back({value.name, id, value.shape, value.dtype, value.placements,
                                ViewOf(id), RowsOf(value, mesh_, rank_).begin,
                                ColumnsOf(value, mesh_, rank_).begin});
}

}  // namespace tp
