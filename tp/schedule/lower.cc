#include "tp/schedule/lower.h"

#include <glog/logging.h>

#include <string>
#include <utility>
#include <vector>

#include "tp/schedule/draft.h"
#include "tp/schedule/hazards.h"
#include "tp/schedule/local_part.h"
#include "tp/schedule/lower_redistribute.h"
#include "tp/schedule/overlap.h"

namespace tp {
namespace {

void LowerSimple(const Op& op, ScheduleDraft& draft, Action action) {
  std::vector<View> reads;
  for (ValueId id : op.inputs) reads.push_back(draft.ViewOf(id));
  std::vector<View> writes;
  for (ValueId id : op.outputs) writes.push_back(draft.Define(id));
  draft.Emit(action, op, std::move(reads), std::move(writes));
}

// A sum over dimension `dim` of the first input: by `free` in any order, or by `blocked` along
// the tree, as far as this rank's blocks go.
void LowerSum(const Op& op, ScheduleDraft& draft, Action free, Action blocked,
              std::vector<View> reads, int dim) {
  const ValueId out = op.outputs[0];
  if (draft.program().sum_order() == SumOrder::kFast) {
    draft.Emit(free, op, std::move(reads), {draft.Define(out)});
    return;
  }
  const Value& summed = draft.program().value(op.inputs[0]);
  const BlockRange range = BlocksOf(summed, dim, draft.mesh(), draft.rank());
  const BlockedSum sum{summed.shape[dim], LargestNodes(range)};
  std::vector<View> nodes = range == BlockRange() ? std::vector<View>{draft.Define(out)}
                                                  : draft.DefineNodes(out, sum.nodes.size());
  draft.Emit(blocked, op, std::move(reads), std::move(nodes)).sum = sum;
}

void LowerOp(const Op& op, ScheduleDraft& draft) {
  switch (op.kind) {
    case OpKind::kInput:
    case OpKind::kParameter:
      draft.Define(op.outputs[0]);
      return;
    case OpKind::kMatMul: {
      const View a = draft.ViewOf(op.inputs[0]);
      const View b = draft.ViewOf(op.inputs[1]);
      std::vector<View> reads = {op.transpose_a ? a.Transposed() : a,
                                 op.transpose_b ? b.Transposed() : b};
      if (op.inputs.size() == 3 && draft.HasView(op.inputs[2])) {
        reads.push_back(draft.ViewOf(op.inputs[2]));
      }
      return LowerSum(op, draft, Action::kGemm, Action::kBlockedGemm, std::move(reads),
                      op.transpose_a ? 0 : 1);
    }
    case OpKind::kAddBias:
      return LowerSimple(op, draft, Action::kAddBias);
    case OpKind::kMseLoss:
      return LowerSimple(op, draft, Action::kMseLoss);
    case OpKind::kMseGrad:
      return LowerSimple(op, draft, Action::kMseGrad);
    case OpKind::kMseLossGrad:
      return LowerSimple(op, draft, Action::kMseLossGrad);
    case OpKind::kSumRows:
      return LowerSum(op, draft, Action::kSumRows, Action::kBlockedSumRows,
                      {draft.ViewOf(op.inputs[0])}, 0);
    case OpKind::kSgdUpdate: {
      const View w = draft.ViewOf(op.inputs[0]);
      draft.SetView(op.outputs[0], w);
      draft.Emit(Action::kSgd, op, {w, draft.ViewOf(op.inputs[1])}, {w});
      return;
    }
    case OpKind::kRedistribute:
      return LowerRedistribute(op, draft);
  }
}

Schedule LowerProgram(const Program& program, const Mesh& mesh, int rank,
                      const LowerOptions& options) {
  ScheduleDraft draft(program, mesh, rank);
  for (const Op& op : program.ops()) LowerOp(op, draft);
  for (const Op& op : program.ops()) {
    if (op.kind == OpKind::kInput || op.kind == OpKind::kParameter) draft.Bind(op.outputs[0]);
  }
  for (ValueId id : program.results()) draft.Bind(id);
  Schedule schedule = draft.Take();
  if (options.sum_part_bytes > 0) CutSums(schedule, options.sum_part_bytes);
  OrderConflicts(schedule);
  return schedule;
}

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
  Schedule schedule = LowerProgram(program, mesh, rank, options);
  Status status = CheckHazards(schedule);
  CHECK(status.ok()) << "lowering made a race: " << status.ToString();
  return schedule;
}

}  // namespace tp
