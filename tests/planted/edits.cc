#include "tests/planted/edits.h"

#include <glog/logging.h>

#include <algorithm>
#include <string>
#include <utility>

#include "tp/core/shard_geometry.h"
#include "tp/ops/all.h"
#include "tp/schedule/hazards.h"

namespace tp::planted {
namespace {

View AddBuffer(Schedule& schedule, const std::string& name, const View& like) {
  const DType dtype = schedule.buffers[like.buffer].dtype;
  schedule.buffers.push_back({name, dtype, like.size()});
  return PackedView(static_cast<BufferId>(schedule.buffers.size()) - 1, 0, SizesOf(like),
                    Order::Own(static_cast<size_t>(like.rank())));
}

ScheduledOp Copy(const ScheduledOp& neighbour, const View& from, const View& to) {
  ScheduledOp copy;
  copy.action = Action::kCopy;
  copy.name = neighbour.name;
  copy.phase = neighbour.phase;
  copy.reads = {from};
  copy.writes = {to};
  return copy;
}

void Insert(Schedule& schedule, int index, std::vector<ScheduledOp> ops) {
  schedule.ops.insert(schedule.ops.begin() + index, ops.begin(), ops.end());
  OrderAgain(schedule);
}

// The part of `whole` that a tp rank's columns fill.
View ColumnsOf(const View& whole, const ShardGeometry& geometry, int part) {
  return whole.Sub(1, geometry.Offset(part), geometry.Length(part));
}

}  // namespace

int IndexOf(const Schedule& schedule, Action action, std::string_view name) {
  for (size_t i = 0; i < schedule.ops.size(); ++i) {
    if (schedule.ops[i].action == action && schedule.ops[i].name == name) {
      return static_cast<int>(i);
    }
  }
  LOG(FATAL) << "no " << Name(action) << " computes " << name << " in\n" << ToString(schedule);
}

ScheduledOp& OpOf(Schedule& schedule, Action action, std::string_view name) {
  return schedule.ops[IndexOf(schedule, action, name)];
}

void OrderAgain(Schedule& schedule) {
  for (ScheduledOp& op : schedule.ops) op.waits.clear();
  OrderConflicts(schedule);
}

void DropCollective(Schedule& schedule, std::string_view name) {
  schedule.ops.erase(schedule.ops.begin() + IndexOf(schedule, Action::kCollective, name));
  OrderAgain(schedule);
}

void ReduceACopy(Schedule& schedule, std::string_view name) {
  const int index = IndexOf(schedule, Action::kCollective, name);
  const View original = schedule.ops[index].send;
  const View copy = AddBuffer(schedule, std::string(name) + ".contiguous", original);
  ScheduledOp& op = schedule.ops[index];
  op.send = op.receive = copy;
  op.reads = op.writes = {copy};
  Insert(schedule, index, {Copy(op, original, copy)});
}

void AllReduceAfter(Schedule& schedule, const Mesh& mesh, Axis axis, Action action,
                    std::string_view name) {
  const int index = IndexOf(schedule, action, name);
  ScheduledOp reduce;
  reduce.action = Action::kCollective;
  reduce.name = name;
  reduce.phase = schedule.ops[index].phase;
  reduce.stream = Stream::kCommunication;
  reduce.send = reduce.receive = schedule.ops[index].writes.back();
  reduce.reads = reduce.writes = {reduce.send};
  reduce.call.kind = CollectiveKind::kAllReduce;
  reduce.call.dtype = schedule.buffers[reduce.send.buffer].dtype;
  reduce.call.counts = {reduce.send.size()};
  reduce.axis = axis;
  reduce.group = mesh.Group(schedule.rank, axis);
  Insert(schedule, index + 1, {reduce});
}

void ScaleAfter(Schedule& schedule, int index, const View& view, double factor) {
  ScheduledOp scale = Copy(schedule.ops[index], view, view);
  scale.action = kSgdUpdate.action();  // view - (1 - factor) view
  scale.reads = {view, view};
  scale.attributes = {{"rate", 1 - factor}};
  Insert(schedule, index + 1, {scale});
}

void LayOutRankMajor(Schedule& schedule, const Mesh& mesh, std::string_view name) {
  const View whole = schedule.BindingOf(name).view;
  const int index = IndexOf(schedule, Action::kCollective, name);
  const View flat = AddBuffer(schedule, std::string(name) + ".flat", whole);
  const ShardGeometry geometry(whole.columns(), mesh.Size(Axis::kTp));
  std::vector<ScheduledOp> ops;
  for (int part = 0; part < geometry.parts(); ++part) {
    const View block = ColumnsOf(whole, geometry, part);
    ops.push_back(Copy(schedule.ops[index], block,
                       PackedView(flat.buffer, whole.rows() * geometry.Offset(part), SizesOf(block),
                                  Order::Own(2))));
  }
  ops.push_back(Copy(schedule.ops[index], flat, whole));
  Insert(schedule, index + 1, std::move(ops));
}

void SwapFirstTwoShards(Schedule& schedule, const Mesh& mesh, std::string_view name) {
  const View whole = schedule.BindingOf(name).view;
  const int index = IndexOf(schedule, Action::kCollective, name);
  const ShardGeometry geometry(whole.columns(), mesh.Size(Axis::kTp));
  CHECK_EQ(geometry.Length(0), geometry.Length(1));
  const View first = ColumnsOf(whole, geometry, 0);
  const View second = ColumnsOf(whole, geometry, 1);
  const View aside = AddBuffer(schedule, std::string(name) + ".aside", first);
  const ScheduledOp gather = schedule.ops[index];
  Insert(schedule, index + 1,
         {Copy(gather, first, aside), Copy(gather, second, first), Copy(gather, aside, second)});
}

void MoveToFront(Schedule& schedule, int index) {
  std::rotate(schedule.ops.begin(), schedule.ops.begin() + index, schedule.ops.begin() + index + 1);
  OrderAgain(schedule);
}

void ReadFromStepBefore(Schedule& schedule, Action reader, std::string_view op,
                        std::string_view name) {
  const View original = schedule.BindingOf(name).view;
  const BufferId copy = AddBuffer(schedule, std::string(name) + ".before", original).buffer;
  const int index = IndexOf(schedule, reader, op);
  for (View& view : schedule.ops[index].reads) {
    if (view.buffer == original.buffer) view.buffer = copy;
  }
  View target = original;
  target.buffer = copy;
  Insert(schedule, index + 1, {Copy(schedule.ops[index], original, target)});
}

}  // namespace tp::planted
