#include "tp/schedule/lower.h"

#include <glog/logging.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tp/program/typing.h"
#include "tp/schedule/draft.h"
#include "tp/schedule/hazards.h"
#include "tp/schedule/layout.h"
#include "tp/schedule/local_part.h"
#include "tp/schedule/lower_redistribute.h"
#include "tp/schedule/overlap.h"

namespace tp {
namespace {

std::vector<View> ViewsOf(const std::vector<ValueId>& ids, const ScheduleDraft& draft) {
  std::vector<View> views;
  for (ValueId id : ids) views.push_back(draft.ViewOf(id));
  return views;
}

// See ScheduledOp::by_rows.
bool GoesByRows(const Letters& letters, std::string_view whole) {
  const std::vector<std::string>& outputs = letters.outputs();
  if (outputs.back().size() < 2 || outputs.size() > 2 ||
      whole.find(outputs.back()[0]) < whole.size()) {
    return false;
  }
  const std::vector<std::string> operands = letters.operands();
  return (outputs.size() == 1 || outputs[0].empty()) &&
         std::all_of(operands.begin(), operands.end(), [&](const std::string& dims) {
           return dims.find(outputs.back()[0]) == (dims.size() < 2 ? std::string::npos : 0);
         });
}

// One launch on the op's views.
void LowerSimple(const Op& op, ScheduleDraft& draft) {
  std::vector<View> reads = ViewsOf(op.inputs, draft);
  std::vector<View> writes;
  if (op.def->updates >= 0) {
    draft.SetView(op.outputs[0], draft.ViewOf(op.inputs[op.def->updates]));
    writes.push_back(draft.ViewOf(op.outputs[0]));
  }
  for (size_t i = writes.size(); i < op.outputs.size(); ++i) {
    writes.push_back(draft.Define(op.outputs[i]));
  }
  draft.Emit(op.def->action(), op, std::move(reads), std::move(writes)).by_rows =
      GoesByRows(LettersOf(draft.program(), op).value(), op.def->whole);
}

// The operands of a sum as its launch wants them: the first with what is summed over as its last
// dimension where it is a factor, so as the left matrix of a product; the second, if there is one,
// as the right one.
std::vector<View> SumOperands(const Op& op, const Letters& letters, ScheduleDraft& draft) {
  const std::vector<std::string> operands = letters.operands();
  const std::string& out = letters.outputs()[0];
  std::vector<View> reads;
  for (size_t i = 0; i < op.inputs.size(); ++i) {
    if (!draft.HasView(op.inputs[i])) continue;  // a bias that another rank adds
    const View& view = draft.ViewOf(op.inputs[i]);
    const bool matrix = letters.terms()[0].size() == 2 && operands[i].size() == 2 && i < 2;
    const bool kept_first = matrix && out.find(operands[i][0]) != std::string::npos;
    reads.push_back(matrix && kept_first == (i == 1) ? view.Transposed() : view);
  }
  return reads;
}

// A sum over a dimension of the first operand: in any order, or along the tree, as far as this
// rank's blocks go.
void LowerSum(const Op& op, ScheduleDraft& draft) {
  const Letters letters = LettersOf(draft.program(), op).value();
  const ValueId out = op.outputs[0];
  std::vector<View> reads = SumOperands(op, letters, draft);
  if (draft.program().sum_order() == SumOrder::kFast) {
    draft.Emit(op.def->action(), op, std::move(reads), {draft.Define(out)});
    return;
  }
  const auto dim = static_cast<int>(letters.operands()[0].find(letters.summed()[0]));
  const Value& summed = draft.program().value(op.inputs[0]);
  const BlockRange range = BlocksOf(summed, dim, draft.mesh(), draft.rank());
  const BlockedSum sum{summed.shape[dim], LargestNodes(range)};
  std::vector<View> nodes = range == BlockRange() ? std::vector<View>{draft.Define(out)}
                                                  : draft.DefineNodes(out, sum.nodes.size());
  draft.Emit(op.def->blocked, op, std::move(reads), std::move(nodes)).sum = sum;
}

void LowerOp(const Op& op, ScheduleDraft& draft) {
  if (op.IsSource()) {
    draft.Define(op.outputs[0]);
  } else if (op.Is(kRedistribute)) {
    LowerRedistribute(op, draft);
  } else if (!op.def->blocked.name.empty()) {
    LowerSum(op, draft);
  } else {
    LowerSimple(op, draft);
  }
}

Status CheckProgram(const Program& program, const Mesh& mesh) {
  TP_RETURN_IF_ERROR(Verify(program));
  for (Axis axis : kAllAxes) {
    if (program.sum_order() == SumOrder::kFast || SplitsIntoBlocks(mesh.Size(axis))) continue;
    return InvalidArgument("the invariant order of sums takes a number of ranks that divides " +
                           std::to_string(kSumBlocks) + ", such as 1, 2, 3, 4, 6 or 8; " +
                           std::string(Name(axis)) + " is " + std::to_string(mesh.Size(axis)));
  }
  return OkStatus();
}

Schedule LowerProgram(const Program& program, const Mesh& mesh, const Layout& layout, int rank,
                      const LowerOptions& options, MemoryPlanner& planner) {
  ScheduleDraft draft(program, mesh, layout, rank);
  for (const Op& op : program.ops()) LowerOp(op, draft);
  for (const Op& op : program.ops()) {
    if (op.IsSource()) draft.Bind(op.outputs[0]);
  }
  for (ValueId id : program.results()) draft.Bind(id);
  Schedule schedule = draft.Take();
  if (options.sum_part_bytes > 0) CutSums(schedule, options.sum_part_bytes);
  OrderConflicts(schedule);
  planner.Place(schedule, options.keep);
  const Status status = CheckHazards(schedule);
  CHECK(status.ok()) << "lowering made a race: " << status.ToString();
  return schedule;
}

}  // namespace

StatusOr<Schedule> Lower(const Program& program, const Mesh& mesh, int rank,
                         const LowerOptions& options) {
  TP_RETURN_IF_ERROR(CheckProgram(program, mesh));
  MemoryPlanner planner;
  return LowerProgram(program, mesh, ChooseLayout(program, mesh), rank, options, planner);
}

StatusOr<std::vector<Schedule>> LowerAll(const Program& program, const Mesh& mesh,
                                         const LowerOptions& options) {
  TP_RETURN_IF_ERROR(CheckProgram(program, mesh));
  const Layout layout = ChooseLayout(program, mesh);
  MemoryPlanner planner;
  std::vector<Schedule> schedules;
  for (int rank = 0; rank < mesh.world(); ++rank) {
    schedules.push_back(LowerProgram(program, mesh, layout, rank, options, planner));
  }
  return schedules;
}

}  // namespace tp
