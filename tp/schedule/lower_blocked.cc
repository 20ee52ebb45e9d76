#include "tp/schedule/lower_blocked.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tp/schedule/local_part.h"

namespace tp {
namespace {

// An operand, and its dimension, that has `letter`.
std::pair<size_t, int> PlaceOf(const Letters& letters, char letter) {
  const std::vector<std::string> operands = letters.operands();
  size_t i = 0;
  while (operands[i].find(letter) == std::string::npos) ++i;
  return {i, static_cast<int>(operands[i].find(letter))};
}

// The blocks of the sum that this rank has.
StatusOr<BlockedSum> BlocksOfSum(const Op& op, const Letters& letters, const ScheduleDraft& draft) {
  const std::string summed = letters.summed();
  if (summed.empty()) {
    return InvalidArgument("the invariant order of sums takes what is summed over; " +
                           letters.ToString() + " sums over nothing");
  }
  const auto value_of = [&](size_t operand) -> const Value& {
    return draft.program().value(op.inputs[operand]);
  };
  const auto [operand, dim] = PlaceOf(letters, summed[0]);
  BlockedSum sum{value_of(operand).shape[dim],
                 LargestNodes(BlocksOf(value_of(operand), dim, draft.mesh(), draft.rank()))};
  for (char letter : summed.substr(1)) {
    const auto [other, at] = PlaceOf(letters, letter);
    const Extent extent = ExtentOf(value_of(other), at, draft.mesh(), draft.rank());
    if (!(BlocksOf(value_of(other), at, draft.mesh(), draft.rank()) == BlockRange())) {
      return InvalidArgument("the invariant order of sums takes its tree along '" +
                             summed.substr(0, 1) + "' of " + letters.ToString() + "; '" + letter +
                             "', which is summed over too, may not be cut");
    }
    sum.each *= extent.length;
  }
  return sum;
}

// Where a sum along the tree goes: to the value, or to a node of each of this rank's parts.
std::vector<View> DefineSum(ValueId out, const BlockedSum& sum, ScheduleDraft& draft) {
  if (sum.nodes.size() == 1 && sum.nodes[0] == BlockRange()) return {draft.Define(out)};
  return draft.DefineNodes(out, sum.nodes.size());
}

// The dimensions of `view` that are `letters`, in this order, as one; nothing where they do not run
// through memory so.
std::optional<Dim> Joined(const View& view, const std::string& dims, const std::string& letters) {
  Dim joined{1, 1};
  bool first = true;
  for (size_t i = letters.size(); i-- > 0;) {
    const Dim& dim = view.dims[static_cast<int>(dims.find(letters[i]))];
    if (dim.size == 1 && letters.size() > 1) continue;
    const bool runs_on = first || view.empty() || dim.stride == joined.size * joined.stride;
    if (!runs_on) return std::nullopt;
    joined = {joined.size * dim.size, first ? dim.stride : joined.stride};
    first = false;
  }
  return joined;
}

std::optional<View> Matrix(const View& view, const std::string& dims, const std::string& rows,
                           const std::string& columns) {
  const std::optional<Dim> row = Joined(view, dims, rows), column = Joined(view, dims, columns);
  if (!row || !column) return std::nullopt;
  return View{view.buffer, view.offset, {*row, *column}};
}

// `view` with its dimensions in the order of `letters`, all of which `dims` has.
View Turned(const View& view, const std::string& dims, const std::string& letters) {
  View turned{view.buffer, view.offset, {}};
  for (char letter : letters) {
    turned.dims.push_back(view.dims[static_cast<int>(dims.find(letter))]);
  }
  return turned;
}

// What `id` is, or a copy of it, as a matrix.
View AsMatrix(const Op& op, ValueId id, const std::string& dims, const std::string& rows,
              const std::string& columns, ScheduleDraft& draft) {
  const View& view = draft.ViewOf(id);
  if (const auto matrix = Matrix(view, dims, rows, columns)) return *matrix;
  const View packed = draft.InOrder(op, Turned(view, dims, rows + columns), Order::Own(view.rank()),
                                    draft.program().value(id).name + ".packed");
  return Matrix(packed, rows + columns, rows, columns).value();
}

// The letters of `dims` that `other` has, or lacks.
std::string In(const std::string& dims, const std::string& other, bool has) {
  std::string letters;
  for (char c : dims) {
    if ((other.find(c) != std::string::npos) == has) letters += c;
  }
  return letters;
}

// Where matrices of `rows` and `columns` are written before they are copied to where they belong.
struct Target {
  std::vector<View> matrices;
  std::vector<std::pair<View, View>> copies;
};

Target TargetOf(ValueId out, const std::string& dims, const std::string& rows,
                const std::string& columns, const BlockedSum& sum, ScheduleDraft& draft) {
  Target target;
  for (const View& node : DefineSum(out, sum, draft)) {
    std::optional<View> matrix = Matrix(node, dims, rows, columns);
    if (!matrix) {
      const View turned = Turned(node, dims, rows + columns);
      const View own =
          draft.Allocate(draft.program().value(out).name + ".own", draft.TypeOf(node.buffer),
                         SizesOf(turned), Order::Own(turned.rank()));
      target.copies.emplace_back(own, turned);
      matrix = Matrix(own, rows + columns, rows, columns);
    }
    target.matrices.push_back(*matrix);
  }
  return target;
}

void EmitSum(const Op& op, std::vector<View> reads, Target target, BlockedSum sum,
             ScheduleDraft& draft) {
  draft.Emit(op.def->blocked, op, std::move(reads), std::move(target.matrices)).sum =
      std::move(sum);
  for (const auto& [from, to] : target.copies) draft.Emit(Action::kCopy, op, {from}, {to});
}

}  // namespace

Status LowerBlockedProduct(const Op& op, ScheduleDraft& draft) {
  const Letters& letters = draft.LettersOf(op);
  TP_ASSIGN_OR_RETURN(BlockedSum sum, BlocksOfSum(op, letters, draft));
  const std::vector<std::string> in = letters.operands();
  const std::string& out = letters.outputs()[0];
  const std::string rows = In(out, in[0], true), columns = In(out, in[1], true);
  const std::string summed = letters.summed();
  if (rows.size() + columns.size() != out.size() || In(summed, in[0], true) != summed ||
      In(summed, in[1], true) != summed) {
    return InvalidArgument("the invariant order of sums takes what is one matrix product; " +
                           letters.ToString() + " is one in each of some loops");
  }
  const View a = AsMatrix(op, op.inputs[0], in[0], rows, summed, draft);
  const View b = AsMatrix(op, op.inputs[1], in[1], summed, columns, draft);
  Target target = TargetOf(op.outputs[0], out, rows, columns, sum, draft);
  EmitSum(op, {a, b}, std::move(target), std::move(sum), draft);
  return OkStatus();
}

Status LowerBlockedSum(const Op& op, ScheduleDraft& draft) {
  const Letters& letters = draft.LettersOf(op);
  TP_ASSIGN_OR_RETURN(BlockedSum sum, BlocksOfSum(op, letters, draft));
  const std::string& out = letters.outputs()[0];
  if (op.def->blocked != Action::kBlockedSumRows) {
    std::vector<View> reads;
    for (ValueId id : op.inputs) reads.push_back(draft.ViewOf(id));
    Target target{DefineSum(op.outputs[0], sum, draft), {}};
    EmitSum(op, std::move(reads), std::move(target), std::move(sum), draft);
    return OkStatus();
  }
  const View g = AsMatrix(op, op.inputs[0], letters.operands()[0], letters.summed(), out, draft);
  Target target = TargetOf(op.outputs[0], out, "", out, sum, draft);
  for (View& row : target.matrices) row.dims = {row.dims[1]};  // a vector is one row
  EmitSum(op, {g}, std::move(target), std::move(sum), draft);
  return OkStatus();
}

}  // namespace tp
