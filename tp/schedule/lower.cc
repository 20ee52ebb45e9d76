#include "tp/schedule/lower.h"

#include <glog/logging.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tp/program/typing.h"
#include "tp/schedule/contraction.h"
#include "tp/schedule/draft.h"
#include "tp/schedule/hazards.h"
#include "tp/schedule/layout.h"
#include "tp/schedule/local_part.h"
#include "tp/schedule/lower_blocked.h"
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

// Which part of each letter this rank has.
std::vector<LetterPart> PartsOf(const Op& op, const Letters& letters, const ScheduleDraft& draft) {
  std::vector<LetterPart> parts;
  std::string known;
  const std::vector<std::string> operands = letters.operands();
  for (size_t i = 0; i < operands.size(); ++i) {
    const Value& value = draft.program().value(op.inputs[i]);
    for (int dim = 0; dim < static_cast<int>(operands[i].size()); ++dim) {
      if (known.find(operands[i][dim]) != std::string::npos) continue;
      known += operands[i][dim];
      const Extent extent = ExtentOf(value, dim, draft.mesh(), draft.rank());
      parts.push_back({operands[i][dim], extent.begin, extent.length, value.shape[dim]});
    }
  }
  return parts;
}

// One launch on the op's views.
void LowerSimple(const Op& op, ScheduleDraft& draft) {
  std::vector<View> reads = ViewsOf(op.inputs, draft);
  std::vector<View> writes;
  for (int i = 0; i < op.def->updates; ++i) {
    draft.SetView(op.outputs[i], draft.ViewOf(op.inputs[i]));
    writes.push_back(draft.ViewOf(op.outputs[i]));
  }
  for (size_t i = writes.size(); i < op.outputs.size(); ++i) {
    writes.push_back(draft.Define(op.outputs[i]));
  }
  const Letters& letters = draft.LettersOf(op);
  std::vector<LetterPart> parts = PartsOf(op, letters, draft);
  ScheduledOp& launch = draft.Emit(op.def->action(), op, std::move(reads), std::move(writes));
  launch.by_rows = GoesByRows(letters, op.def->whole);
  if (launch.by_rows) {
    std::stable_partition(parts.begin(), parts.end(), [&](const LetterPart& part) {
      return part.letter == letters.outputs().back()[0];
    });
  }
  launch.letters = std::move(parts);
}

// "mk,kn -> mn" in any order of letters.
bool IsOfMatrices(const Letters& letters) {
  const std::vector<std::string> operands = letters.operands();
  const std::string summed = letters.summed();
  return operands[0].size() == 2 && operands[1].size() == 2 && letters.outputs()[0].size() == 2 &&
         summed.size() == 1 && operands[0].find(summed) != std::string::npos &&
         operands[1].find(summed) != std::string::npos;
}

// A product, as its letters group into matrix products, in any order of its sums.
Status LowerProduct(const Op& op, ScheduleDraft& draft) {
  const Letters& letters = draft.LettersOf(op);
  const View out = draft.Define(op.outputs[0]);
  // What another rank adds has no memory here.
  const bool adds = op.inputs.size() == 3 && draft.HasView(op.inputs[2]);
  const View* added = adds ? &draft.ViewOf(op.inputs[2]) : nullptr;
  TP_ASSIGN_OR_RETURN(
      const Contraction product,
      GroupLetters(letters, draft.ViewOf(op.inputs[0]), draft.ViewOf(op.inputs[1]), out, added));
  std::vector<View> reads = {product.a, product.b};
  if (product.added) reads.push_back(*product.added);
  draft.Emit(op.def->action(), op, std::move(reads), {product.c}).of_matrices =
      IsOfMatrices(letters);
  return OkStatus();
}

Status LowerOp(const Op& op, ScheduleDraft& draft) {
  if (draft.program().sum_order() == SumOrder::kInvariant && !op.def->blocked.name.empty()) {
    return IsProduct(op.def->action()) ? LowerBlockedProduct(op, draft)
                                       : LowerBlockedSum(op, draft);
  }
  if (IsProduct(op.def->action())) return LowerProduct(op, draft);
  if (op.IsSource()) {
    draft.Define(op.outputs[0]);
  } else if (op.Is(kRedistribute)) {
    LowerRedistribute(op, draft);
  } else {
    LowerSimple(op, draft);
  }
  return OkStatus();
}

Status CheckProgram(const Program& program, const Mesh& mesh) {
  TP_RETURN_IF_ERROR(Verify(program));
  for (const Axis& axis : mesh.axes()) {
    if (program.sum_order() == SumOrder::kFast || SplitsIntoBlocks(mesh.Size(axis))) continue;
    return InvalidArgument("the invariant order of sums takes a number of ranks that divides " +
                           std::to_string(kSumBlocks) + ", such as 1, 2, 3, 4, 6 or 8; " +
                           std::string(Name(axis)) + " is " + std::to_string(mesh.Size(axis)));
  }
  return OkStatus();
}

// By op; those of sources and redistributes are empty.
std::vector<Letters> LettersOfOps(const Program& program) {
  std::vector<Letters> letters(program.ops().size());
  for (size_t i = 0; i < letters.size(); ++i) {
    const Op& op = program.ops()[i];
    if (op.def->role == OpRole::kCompute) letters[i] = LettersOf(program, op).value();
  }
  return letters;
}

StatusOr<Schedule> LowerProgram(ScheduleDraft draft, const LowerOptions& options,
                                MemoryPlanner& planner) {
  const Program& program = draft.program();
  for (const Op& op : program.ops()) {
    const Status status = LowerOp(op, draft);
    if (!status.ok()) {
      return status.WithContext(std::string(op.def->name) + " '" +
                                program.value(op.outputs[0]).name + "'");
    }
  }
  for (const Op& op : program.ops()) {
    if (op.IsSource()) draft.Bind(op.outputs[0]);
  }
  for (ValueId id : program.results()) draft.Bind(id);
  Schedule schedule = draft.Take();
  if (options.sum_part_bytes > 0) {
    CutSums(schedule, options.sum_part_bytes);
    CutScatters(schedule, options.sum_part_bytes);
    CutGathers(schedule, options.sum_part_bytes);
  }
  OrderConflicts(schedule);
  planner.Place(schedule, options.keep);
  const Status status = CheckHazards(schedule);
  CHECK(status.ok()) << "lowering made a race: " << status.ToString();
  return schedule;
}

}  // namespace

StatusOr<std::vector<Schedule>> LowerRanks(const Program& program, const Mesh& mesh,
                                           const std::vector<int>& ranks,
                                           const LowerOptions& options) {
  TP_RETURN_IF_ERROR(CheckProgram(program, mesh));
  const Layout layout = ChooseLayout(program, mesh);
  const std::vector<Letters> letters = LettersOfOps(program);
  MemoryPlanner planner;
  std::vector<Schedule> schedules;
  for (int rank : ranks) {
    TP_ASSIGN_OR_RETURN(Schedule schedule,
                        LowerProgram({program, mesh, layout, letters, rank}, options, planner));
    schedules.push_back(std::move(schedule));
  }
  return schedules;
}

StatusOr<Schedule> Lower(const Program& program, const Mesh& mesh, int rank,
                         const LowerOptions& options) {
  TP_ASSIGN_OR_RETURN(std::vector<Schedule> schedules, LowerRanks(program, mesh, {rank}, options));
  return std::move(schedules[0]);
}

StatusOr<std::vector<Schedule>> LowerAll(const Program& program, const Mesh& mesh,
                                         const LowerOptions& options) {
  std::vector<int> ranks(mesh.world());
  std::iota(ranks.begin(), ranks.end(), 0);
  return LowerRanks(program, mesh, ranks, options);
}

}  // namespace tp
