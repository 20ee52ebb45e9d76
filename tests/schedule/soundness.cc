#include "tests/schedule/soundness.h"

#include <algorithm>
#include <numeric>

#include "tp/schedule/byte_contract.h"
#include "tp/schedule/hazards.h"

namespace tp {
namespace {

bool LiesInItsBuffer(const Schedule& schedule, const View& view) {
  if (view.buffer < 0 || view.buffer >= static_cast<int>(schedule.buffers.size())) return false;
  return std::all_of(view.dims.begin(), view.dims.end(),
                     [](const Dim& dim) { return dim.size >= 0 && dim.stride >= 0; }) &&
         view.offset >= 0 && view.End() <= schedule.buffers[view.buffer].elements;
}

bool IsContiguous(const View& view) { return PackedOrder(view).has_value(); }

std::string ViewDefect(const Schedule& schedule, const ScheduledOp& op) {
  for (const auto* views : {&op.reads, &op.writes}) {
    for (const View& view : *views) {
      if (!LiesInItsBuffer(schedule, view)) return "a view outside its buffer";
    }
  }
  return "";
}

// Elements that a member sends and receives in a call.
std::pair<int64_t, int64_t> Lengths(const CollectiveCall& call, int members, int me) {
  const int64_t total = TotalElements(call);
  switch (call.kind) {
    case CollectiveKind::kAllGather:
      return {call.counts.at(me), total};
    case CollectiveKind::kReduceScatter:
      return {total, call.counts.at(me)};
    case CollectiveKind::kAllToAll: {
      std::pair<int64_t, int64_t> lengths = {0, 0};
      for (int i = 0; i < members; ++i) {
        lengths.first += call.counts.at(me * members + i);
        lengths.second += call.counts.at(i * members + me);
      }
      return lengths;
    }
    default:
      return {total, total};
  }
}

std::string CollectiveDefect(const Schedule& schedule, const Mesh& mesh, const ScheduledOp& op) {
  const int members = mesh.Size(op.axis);
  const int me = mesh.Coordinate(schedule.rank, op.axis);
  if (op.stream != CommunicationStream(mesh.PlaceOf(op.axis))) {
    return "a collective on another stream than its axis's";
  }
  if (op.group != mesh.Group(schedule.rank, op.axis)) return "a wrong group";
  if (members < 2) return "a collective with itself";
  if (!IsContiguous(op.send) || !IsContiguous(op.receive)) return "a strided collective";
  if (Lengths(op.call, members, me) != std::pair(op.send.size(), op.receive.size())) {
    return "counts that are not those of its views";
  }
  if (op.reads != std::vector<View>{op.send}) return "it reads other than what it sends";
  // All that it receives is written, or was there already.
  std::string defect;
  ForEachElement(op.receive, [&](const Index&, int64_t place) {
    const auto covers = [&](const View& view) {
      return view.buffer == op.receive.buffer && view.offset <= place && place < view.End();
    };
    const bool written = std::any_of(op.writes.begin(), op.writes.end(), covers);
    const bool own = op.call.kind == CollectiveKind::kAllGather && covers(op.send);
    if (!written && !own) defect = "it receives more than it writes";
    if (written && own) defect = "it writes the block that it sends";
  });
  return defect;
}

std::string OpDefect(const Schedule& schedule, const Mesh& mesh, size_t index) {
  const ScheduledOp& op = schedule.ops[index];
  if (auto defect = ViewDefect(schedule, op); !defect.empty()) return defect;
  if (op.action == Action::kCollective) {
    if (auto defect = CollectiveDefect(schedule, mesh, op); !defect.empty()) return defect;
  } else if (op.stream != Stream::kCompute && op.action != Action::kSumBlocks &&
             op.action != Action::kCopy) {  // parts of a sum over ranks, in the invariant order
    return "computes on the communication stream";
  }
  for (size_t k = 0; k < op.waits.size(); ++k) {
    if (schedule.ops.at(op.waits[k]).stream == op.stream) return "a wait within one stream";
    Schedule without = schedule;
    without.ops[index].waits.erase(without.ops[index].waits.begin() +
                                   static_cast<std::ptrdiff_t>(k));
    if (CheckHazards(without).ok()) return "a wait that nothing needs";
  }
  return "";
}

std::string BindingDefect(const Schedule& schedule, const Mesh& mesh, const Binding& binding) {
  if (!LiesInItsBuffer(schedule, binding.view)) return "a view outside its buffer";
  if (binding.view.rank() != static_cast<int>(binding.shape.size())) return "other dimensions";
  for (int dim = 0; dim < binding.view.rank(); ++dim) {
    // Part 3 of 2 x 4 is part 3 of the first half of 8.
    int64_t parts = 1;
    int64_t part = 0;
    for (const Axis& axis : binding.placements.Cutting(dim)) {
      parts *= mesh.Size(axis);
      part = part * mesh.Size(axis) + mesh.Coordinate(schedule.rank, axis);
    }
    const auto begins = [&](int64_t at) { return (binding.shape[dim] * at + parts - 1) / parts; };
    if (binding.view.dims[dim].size != begins(part + 1) - begins(part) ||
        binding.origin[dim] != begins(part)) {
      return "another part than its shard";
    }
  }
  if (schedule.buffers[binding.view.buffer].dtype != binding.dtype) return "a wrong type";
  return "";
}

std::vector<const ScheduledOp*> Collectives(const Schedule& schedule) {
  std::vector<const ScheduledOp*> collectives;
  for (const ScheduledOp& op : schedule.ops) {
    if (op.action == Action::kCollective) collectives.push_back(&op);
  }
  return collectives;
}

std::string ContractDefect(const Program& program, const Mesh& mesh,
                           const std::vector<Schedule>& schedules) {
  const std::vector<ContractEntry> contract = ByteContract(program, mesh);
  std::vector<int64_t> sent(contract.size());
  for (const Schedule& schedule : schedules) {
    const auto collectives = Collectives(schedule);
    size_t matched = 0;
    const ScheduledOp* last = nullptr;  // the first part of the entry before
    for (size_t i = 0; i < contract.size(); ++i) {
      std::vector<const ScheduledOp*> parts;
      for (const ScheduledOp* op : collectives) {
        if (Serves(*op, contract[i]) && op->phase == contract[i].phase) parts.push_back(op);
      }
      matched += parts.size();
      if (parts.empty()) return "no collective for entry '" + contract[i].name + "'";
      if (last != nullptr && parts[0] < last) return "'" + contract[i].name + "' comes too early";
      last = parts[0];
      // Each group counts once, through its first member.
      if (mesh.Coordinate(schedule.rank, parts[0]->axis) > 0) continue;
      for (const ScheduledOp* op : parts) {
        sent[i] += MinimalElementsSent(op->call, mesh.Size(op->axis)) * SizeOf(op->call.dtype);
      }
    }
    if (matched != collectives.size()) return "a collective of no entry of the contract";
  }
  for (size_t i = 0; i < contract.size(); ++i) {
    if (sent[i] == contract[i].bytes) continue;
    return "'" + contract[i].name + "' sends " + std::to_string(sent[i]) + " bytes, not " +
           std::to_string(contract[i].bytes);
  }
  return "";
}

std::string AgreementDefect(const Mesh& mesh, const std::vector<Schedule>& schedules) {
  const auto first = Collectives(schedules[0]);
  for (const Schedule& schedule : schedules) {
    const auto collectives = Collectives(schedule);
    if (collectives.size() != first.size()) return "ranks call other numbers of collectives";
    for (size_t i = 0; i < first.size(); ++i) {
      const ScheduledOp& op = *collectives[i];
      if (op.name != first[i]->name || op.axis != first[i]->axis ||
          op.call.kind != first[i]->call.kind) {
        return "ranks call collectives in another order";
      }
      const int leader = mesh.Group(schedule.rank, op.axis)[0];
      if (!(op.call == Collectives(schedules[leader])[i]->call)) {
        return "'" + op.name + "' is called differently within a group";
      }
    }
  }
  return "";
}

}  // namespace

std::string DefectOf(const Program& program, const Mesh& mesh,
                     const std::vector<Schedule>& schedules) {
  for (const Schedule& schedule : schedules) {
    const std::string on_rank = " on rank " + std::to_string(schedule.rank);
    if (Status status = CheckHazards(schedule); !status.ok()) return status.message();
    for (size_t i = 0; i < schedule.ops.size(); ++i) {
      const std::string defect = OpDefect(schedule, mesh, i);
      if (!defect.empty()) return "op " + std::to_string(i) + on_rank + ": " + defect;
    }
    for (const Binding& binding : schedule.bindings) {
      const std::string defect = BindingDefect(schedule, mesh, binding);
      if (!defect.empty()) return "binding '" + binding.name + "'" + on_rank + ": " + defect;
    }
  }
  if (auto defect = AgreementDefect(mesh, schedules); !defect.empty()) return defect;
  return ContractDefect(program, mesh, schedules);
}

}  // namespace tp
