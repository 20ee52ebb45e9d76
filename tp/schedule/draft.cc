#include "tp/schedule/draft.h"

#include <glog/logging.h>

#include "tp/schedule/local_part.h"

namespace tp {

ScheduleDraft::ScheduleDraft(const Program& program, const Mesh& mesh, Layout layout,
                             const std::vector<Letters>& letters, int rank)
    : program_(program),
      mesh_(mesh),
      letters_(letters),
      rank_(rank),
      layout_(std::move(layout)),
      views_(program.values().size()) {
  schedule_.rank = rank;
  schedule_.sum_order = program.sum_order();
  schedule_.ops.reserve(program.ops().size());
  schedule_.buffers.reserve(program.values().size());
}

View ScheduleDraft::Allocate(const std::string& name, DType dtype, const Shape& sizes,
                             const Order& order) {
  schedule_.buffers.push_back({name, dtype, NumElements(sizes)});
  return PackedView(static_cast<BufferId>(schedule_.buffers.size()) - 1, 0, sizes, order);
}

View ScheduleDraft::AllocateValue(ValueId id) {
  const Value& value = program_.value(id);
  return Allocate(value.name, value.dtype, LocalShape(value, mesh_, rank_), layout_.orders[id]);
}

View ScheduleDraft::Define(ValueId id) {
  if (layout_.whole_of[id] >= 0) {
    const Op& gather = program_.ops()[program_.DefinitionOf(layout_.whole_of[id])];
    const Axis axis = *ActiveAxis(program_, mesh_, gather);
    views_[layout_.whole_of[id]] = AllocateValue(layout_.whole_of[id]);
    views_[id] =
        CutOf(id, axis).PartOf(*views_[layout_.whole_of[id]], mesh_.Coordinate(rank_, axis));
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
  views_[id] = MatrixView(first.buffer, 0, rows, first.size(), first.size(), 1);
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
  scheduled.stream = CommunicationOn(axis);
  scheduled.call.kind = kind;
  scheduled.call.dtype = program_.value(op.outputs[0]).dtype;
  scheduled.call.counts = std::move(counts);
  scheduled.send = send;
  scheduled.receive = receive;
  scheduled.axis = axis;
  scheduled.group = mesh_.Group(rank_, axis);
  return scheduled;
}

View ScheduleDraft::InOrder(const Op& op, const View& view, const Order& order,
                            const std::string& name) {
  if (IsPacked(view, order)) return view;
  const View packed = Allocate(name, program_.value(op.inputs[0]).dtype, SizesOf(view), order);
  Emit(Action::kCopy, op, {view}, {packed});
  return packed;
}

void ScheduleDraft::Bind(ValueId id) {
  const Value& value = program_.value(id);
  Binding binding{value.name, id, value.shape, value.dtype, value.placements, ViewOf(id), {}};
  for (int dim = 0; dim < static_cast<int>(value.shape.size()); ++dim) {
    binding.origin[dim] = ExtentOf(value, dim, mesh_, rank_).begin;
  }
  schedule_.bindings.push_back(std::move(binding));
}

}  // namespace tp
