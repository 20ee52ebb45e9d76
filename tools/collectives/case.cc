#include "tools/collectives/case.h"

#include <glog/logging.h>

#include <algorithm>
#include <utility>

#include "fmt/format.h"
#include "tp/ops/ops.h"
#include "tp/program/program.h"
#include "tp/schedule/byte_contract.h"
#include "tp/schedule/lower.h"

namespace tp::collective_bench {
namespace {

constexpr int64_t kLargestInteger = 7;

struct Transition {
  Placement from;
  Placement to;
};

Transition TransitionOf(CollectiveKind kind) {
  switch (kind) {
    case CollectiveKind::kAllReduce:
    case CollectiveKind::kBroadcast:
      return {Partial(), Replicate()};
    case CollectiveKind::kAllGather:
      return {Shard(0), Replicate()};
    case CollectiveKind::kReduceScatter:
      return {Partial(), Shard(0)};
    case CollectiveKind::kAllToAll:
      return {Shard(0), Shard(1)};
    case CollectiveKind::kBarrier:
      break;
  }
  LOG(FATAL) << "no redistribute is a " << Name(kind);
}

bool HasBlocks(CollectiveKind kind) {
  return kind != CollectiveKind::kAllReduce && kind != CollectiveKind::kBroadcast;
}

StatusOr<Program> MakeProgram(const Case& c) {
  const Shape shape =
      c.kind == CollectiveKind::kAllToAll ? Shape{c.members, c.elements} : Shape{c.elements};
  const auto [from, to] = TransitionOf(c.kind);
  Program program;
  for (int nth = 0; nth < c.per_step; ++nth) {
    const Placements placements(from, Replicate());
    TP_ASSIGN_OR_RETURN(const ValueId in, AddInput(program, Value{fmt::format("in{}", nth), shape,
                                                                  c.dtype, placements}));
    TP_ASSIGN_OR_RETURN(
        const ValueId out,
        AddRedistribute(program, Phase::kForward, fmt::format("out{}", nth), in, Axis::kTp, to));
    program.AddResult(out);
  }
  return program;
}

}  // namespace

int64_t Case::count() const { return HasBlocks(kind) ? elements / members : elements; }

Case MakeCase(CollectiveKind kind, DType dtype, int members, int64_t bytes, int per_step) {
  int64_t elements = bytes / SizeOf(dtype);
  if (HasBlocks(kind)) elements -= elements % members;
  return {kind, dtype, members, elements, per_step};
}

StatusOr<Schedule> MakeSchedule(const Case& c, const Mesh& mesh, int rank) {
  TP_ASSIGN_OR_RETURN(const Program program, MakeProgram(c));
  TP_ASSIGN_OR_RETURN(Schedule schedule, Lower(program, mesh, rank));
  for (ScheduledOp& op : schedule.ops) {
    if (op.action == Action::kCollective) op.call.kind = c.kind;
  }
  return schedule;
}

StatusOr<int64_t> ContractBytes(const Case& c, const Mesh& mesh) {
  if (c.kind == CollectiveKind::kBroadcast) {
    const CollectiveCall call{.kind = c.kind, .dtype = c.dtype, .counts = {c.elements}};
    return mesh.Size(Axis::kDp) * MinimalElementsSent(call, c.members) * SizeOf(c.dtype);
  }
  Case one = c;
  one.per_step = 1;
  TP_ASSIGN_OR_RETURN(const Program program, MakeProgram(one));
  int64_t bytes = 0;
  for (const ContractEntry& entry : ByteContract(program, mesh)) bytes += entry.bytes;
  return bytes;
}

double Fed(const Case& c, int nth, int member, int64_t index) {
  const auto unit = static_cast<int64_t>(1 / UnitRoundoff(c.dtype));  // integers up to it are exact
  const auto largest = static_cast<uint64_t>(std::min(kLargestInteger, unit / c.members));
  const uint64_t share = IsPartial(TransitionOf(c.kind).from) ? static_cast<uint64_t>(member) : 0;
  // Any function that tells neighbours apart will do: this one is the mixer of SplitMix64.
  uint64_t key = static_cast<uint64_t>(index) * 0x9e3779b97f4a7c15u + share * 0xd1b54a32d192ed03u +
                 static_cast<uint64_t>(nth) * 0x8cb92ba72f3d8dd7u;
  key = (key ^ (key >> 30)) * 0xbf58476d1ce4e5b9u;
  key = (key ^ (key >> 27)) * 0x94d049bb133111ebu;
  key ^= key >> 31;
  return static_cast<double>(key % (2 * largest + 1)) - static_cast<double>(largest);
}

double Expected(const Case& c, int nth, int64_t index) {
  const bool sum = IsPartial(TransitionOf(c.kind).from) && c.kind != CollectiveKind::kBroadcast;
  if (!sum) return Fed(c, nth, 0, index);
  double total = 0;
  for (int member = 0; member < c.members; ++member) total += Fed(c, nth, member, index);
  return total;
}

int64_t CountWrong(const Binding& binding, std::span<const std::byte> buffer,
                   const std::function<double(int64_t)>& expected) {
  const int64_t width = SizeOf(binding.dtype);
  int64_t wrong = 0;
  ForEachElement(binding.view, [&](const Index& index, int64_t place) {
    double value = 0;
    DecodeToDouble(binding.dtype, buffer.subspan(place * width, width), std::span(&value, 1));
    if (!(value == expected(binding.GlobalIndex(index)))) ++wrong;  // as NaN is
  });
  return wrong;
}

}  // namespace tp::collective_bench
