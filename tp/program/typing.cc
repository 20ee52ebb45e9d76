#include "tp/program/typing.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

namespace tp {
namespace {

Status SameType(const Value& a, const Value& b) {
  if (a.dtype == b.dtype) return OkStatus();
  return InvalidArgument("'" + a.name + "' is " + std::string(Name(a.dtype)) + " and '" + b.name +
                         "' is " + std::string(Name(b.dtype)) + "; they must be alike");
}

Status SameShape(const Value& a, const Value& b) {
  if (a.shape == b.shape) return OkStatus();
  return InvalidArgument("'" + a.name + "' has shape " + ToString(a.shape) + " and '" + b.name +
                         "' has shape " + ToString(b.shape) + "; they must be alike");
}

// Those on which one of `placements` is not Replicate, in the order in which axes are told.
std::set<Axis> AxesOf(const std::vector<const Placements*>& placements) {
  std::set<Axis> axes;
  for (const Placements* each : placements) {
    for (const auto& entry : each->entries()) axes.insert(entry.axis);
  }
  return axes;
}

// "tp, then dp"
std::string InOrder(const std::vector<Axis>& axes) {
  std::string text;
  for (const Axis& axis : axes) text += (text.empty() ? "" : ", then ") + std::string(Name(axis));
  return text;
}

Status CheckRank(const std::string& name, const Shape& shape) {
  if (shape.size() <= kMostDims) return OkStatus();
  return InvalidArgument(name + " has shape " + ToString(shape) + "; a value has at most " +
                         std::to_string(kMostDims) + " dimensions");
}

std::vector<Shape> ShapesOf(const Program& program, const Op& op) {
  std::vector<Shape> shapes;
  for (ValueId id : op.inputs) shapes.push_back(program.value(id).shape);
  return shapes;
}

std::vector<std::string> NamesOf(const Program& program, const Op& op) {
  std::vector<std::string> names;
  for (ValueId id : op.inputs) names.push_back(program.value(id).name);
  return names;
}

// ": 'b' as Shard(0) would do": the placements of one operand that would make the others right.
std::string Remedies(const Program& program, const Op& op, const Letters& letters,
                     const std::vector<Placement>& on) {
  std::string text;
  const std::vector<std::string> operands = letters.operands();
  for (size_t i = 0; i < on.size(); ++i) {
    std::vector<Placement> choices = {Replicate(), Partial()};
    for (size_t d = 0; d < operands[i].size(); ++d) choices.push_back(Shard(static_cast<int>(d)));
    for (Placement choice : choices) {
      std::vector<Placement> other = on;
      other[i] = choice;
      if (!letters.Rule(other, op.def->whole, op.def->linear, op.def->reductions)) continue;
      text += std::string(text.empty() ? ": " : " or ") + "'" + program.value(op.inputs[i]).name +
              "' as " + ToString(choice);
    }
  }
  return text.empty() ? "" : text + " would do";
}

// "on axis tp, 'y' is Partial and 'b' is Replicate; ..."
Status NoRule(const Program& program, const Op& op, const Letters& letters, Axis axis) {
  std::string text = "on axis " + std::string(Name(axis)) + ", ";
  std::vector<Placement> on;
  for (size_t i = 0; i < op.inputs.size(); ++i) {
    const Value& in = program.value(op.inputs[i]);
    on.push_back(in.placements[axis]);
    if (i > 0) text += i + 1 == op.inputs.size() ? " and " : ", ";
    text += "'" + in.name + "' is " + ToString(on.back());
  }
  if (!op.def->advice.empty()) text += "; " + std::string(op.def->advice);
  text += "; the letters are " + letters.ToString() + Remedies(program, op, letters, on);
  const std::vector<bool> parts = letters.PartSums(on, op.def->whole, op.def->linear);
  if (std::count(parts.begin(), parts.end(), true) % static_cast<int>(parts.size()) != 0) {
    text +=
        "; what every rank adds to parts of a sum would be counted once a rank: "
        "redistribute the partial value first";
  }
  return InvalidArgument(text);
}

// Brings the axes that cut a dimension of an output into the order in which they cut its letter in
// the operands, all of which must agree on it.
Status OrderCuts(const Program& program, const Op& op, const Letters& letters,
                 std::vector<Value>& outputs) {
  struct Known {
    std::vector<Axis> axes;
    ValueId from;
  };
  std::map<char, Known> of_letter;
  const std::vector<std::string> operands = letters.operands();
  for (size_t i = 0; i < operands.size(); ++i) {
    const Value& value = program.value(op.inputs[i]);
    if (value.placements.entries().size() < 2) continue;
    for (size_t dim = 0; dim < operands[i].size(); ++dim) {
      const std::vector<Axis> axes = value.placements.Cutting(static_cast<int>(dim));
      if (axes.size() < 2) continue;
      const Known known =
          of_letter.emplace(operands[i][dim], Known{axes, op.inputs[i]}).first->second;
      if (known.axes == axes) continue;
      return InvalidArgument("one dimension, '" + std::string(1, operands[i][dim]) + "' of " +
                             letters.ToString() + ", is cut by " + InOrder(known.axes) + " in '" +
                             program.value(known.from).name + "' and by " + InOrder(axes) +
                             " in '" + value.name + "'; the order must be one");
    }
  }
  for (const auto& [letter, known] : of_letter) {
    for (size_t k = 0; k < outputs.size(); ++k) {
      if (letters.outputs()[k].find(letter) == std::string::npos) continue;
      Placements& placements = outputs[k].placements;
      for (const Axis& axis : known.axes) {  // each behind those before it
        const Placement cut = placements[axis];
        placements.Set(axis, Replicate());
        placements.Set(axis, cut);
      }
    }
  }
  return OkStatus();
}

// The op's own element type: what its operands have, but for those that have one by rule.
StatusOr<DType> TypeOf(const Program& program, const Op& op) {
  const auto rule = [&](size_t i) {  // of more operands, which letters of their own may have, kSame
    return i < op.def->operands.size() ? op.def->operands[i] : TypeRule::kSame;
  };
  const Value* first = nullptr;
  for (size_t i = 0; i < op.inputs.size(); ++i) {
    const Value& value = program.value(op.inputs[i]);
    if (rule(i) != TypeRule::kSame) continue;
    if (value.dtype == DType::kInt32) {
      return InvalidArgument("'" + value.name + "' is int32, in which nothing is computed");
    }
    if (first == nullptr) first = &value;
    TP_RETURN_IF_ERROR(SameType(*first, value));
  }
  for (size_t i = 0; i < op.inputs.size(); ++i) {
    const Value& value = program.value(op.inputs[i]);
    if (rule(i) == TypeRule::kSame) continue;
    const DType wanted = rule(i) == TypeRule::kInt32 ? DType::kInt32 : AccumulatorOf(first->dtype);
    if (value.dtype == wanted) continue;
    return InvalidArgument("'" + value.name + "' is " + std::string(Name(value.dtype)) +
                           "; it must be " + std::string(Name(wanted)));
  }
  return first->dtype;
}

StatusOr<DType> OutputType(const Op& op, TypeRule rule, DType own) {
  if (rule != TypeRule::kNamed) return rule == TypeRule::kSame ? own : AccumulatorOf(own);
  const std::optional<DType> named = ParseDType(op.attributes.Text("to"));
  if (named) return *named;
  return InvalidArgument("has no type '" + op.attributes.Text("to") +
                         "' to give; there are fp64, fp32, bf16 and fp16");
}

Status CheckAttributes(const Op& op) {
  size_t expected = op.def->letters.empty() && op.def->role == OpRole::kCompute ? 1 : 0;
  if (expected == 1 && !op.attributes.Has("letters")) return InvalidArgument("has no letters");
  for (const AttributeDef& def : op.def->attributes) {
    if (def.name.empty()) break;
    ++expected;
    if (!op.attributes.Has(def.name)) {
      return InvalidArgument("has no attribute '" + std::string(def.name) + "'");
    }
  }
  for (const auto& [name, value] : op.attributes.entries()) {
    if (name == "letters") continue;
    const auto* def =
        std::find_if(op.def->attributes.begin(), op.def->attributes.end(),
                     [&name = name](const AttributeDef& d) { return d.name == name; });
    if (def == op.def->attributes.end() || value.index() != static_cast<size_t>(def->type)) {
      return InvalidArgument("has an attribute '" + name +
                             "' that is not its own, or of a wrong type");
    }
  }
  if (op.attributes.entries().size() == expected) return OkStatus();
  return InvalidArgument("has an attribute that is not its own");
}

// Of a dimension that several axes cut, only the last may change: what the others cut is then whole
// in each group of ranks.
Status CheckInnermost(const Placements& placements, const Axis& axis) {
  if (placements.IsInnermost(axis)) return OkStatus();
  const int dim = placements[axis].dim;
  const std::vector<Axis> cutting = placements.Cutting(dim);
  return InvalidArgument("dimension " + std::to_string(dim) + " is cut by " + InOrder(cutting) +
                         "; a redistribute changes the last of them only, " +
                         std::string(Name(cutting.back())));
}

Status CheckChange(const Placements& from, const Placements& to) {
  int changed = 0;
  Placements expected = from;
  for (const Axis& axis : AxesOf({&from, &to})) {
    if (from[axis] == to[axis]) continue;
    ++changed;
    Status status = CheckRedistribute(from[axis], to[axis]);
    if (status.ok()) status = CheckInnermost(from, axis);
    if (status.ok()) status = CheckInnermost(to, axis);
    if (!status.ok()) return status.WithContext("on axis " + std::string(Name(axis)));
    expected.Set(axis, to[axis]);
  }
  if (changed > 1) return InvalidArgument("a redistribute changes one axis at a time");
  if (expected == to) return OkStatus();
  return InvalidArgument("from " + ToString(from) + " to " + ToString(to) +
                         ", the axes that cut a dimension change their order; gather it first");
}

// Parts that are to be summed over one axis and compared over another say not in which order.
Status CheckOneReduction(const Value& value) {
  std::optional<Placements::Entry> first;
  for (const Placements::Entry& entry : value.placements.entries()) {
    if (!IsPartial(entry.placement)) continue;
    if (!first) first = entry;
    if (entry.placement == first->placement) continue;
    return InvalidArgument("'" + value.name + "' is " + ToString(first->placement) + " on " +
                           std::string(Name(first->axis)) + " and " + ToString(entry.placement) +
                           " on " + std::string(Name(entry.axis)) +
                           "; redistribute it on one of them first");
  }
  return OkStatus();
}

// The free choice of an op, a source or a redistribute, must still be a sensible type.
Status CheckDeclared(const Program& program, const Op& op) {
  const Value& out = program.value(op.outputs[0]);
  TP_RETURN_IF_ERROR(CheckRank("'" + out.name + "'", out.shape));
  TP_RETURN_IF_ERROR(CheckOneReduction(out));
  for (const auto& [axis, p] : out.placements.entries()) {
    if (IsPartial(p) && out.dtype == DType::kInt32) {
      return InvalidArgument("'" + out.name + "' is int32 and " + ToString(p) + " on " +
                             std::string(Name(axis)) +
                             "; nothing is summed in int32: leave it Replicate or Shard");
    }
    if (!IsShard(p)) continue;
    if (p.dim < 0 || p.dim >= static_cast<int>(out.shape.size())) {
      return InvalidArgument("'" + out.name + "' of shape " + ToString(out.shape) +
                             " has no dimension to be " + ToString(p));
    }
  }
  if (op.Is(kParameter) && out.dtype == DType::kInt32) {
    return InvalidArgument("'" + out.name + "' is int32, which only an input can be");
  }
  if (!op.Is(kRedistribute)) return OkStatus();
  const Value& in = program.value(op.inputs[0]);
  TP_RETURN_IF_ERROR(SameShape(in, out));
  TP_RETURN_IF_ERROR(SameType(in, out));
  return CheckChange(in.placements, out.placements);
}

}  // namespace

Status CheckRedistribute(Placement from, Placement to) {
  if (!IsPartial(to) || from == to || (to == Partial() && IsReplicate(from))) return OkStatus();
  return InvalidArgument("nothing can be made " + ToString(to) + " from " + ToString(from));
}

StatusOr<Letters> LettersOf(const Program& program, const Op& op) {
  const std::string_view text =
      op.def->letters.empty() ? op.attributes.Text("letters") : op.def->letters;
  TP_ASSIGN_OR_RETURN(const Letters letters, Letters::Parse(text));
  return letters.For(ShapesOf(program, op), NamesOf(program, op));
}

StatusOr<std::vector<Value>> InferOutputs(const Program& program, const Op& op) {
  if (op.def->role != OpRole::kCompute) {
    return InvalidArgument(std::string(op.def->name) + " declares its own output");
  }
  TP_RETURN_IF_ERROR(CheckAttributes(op));
  TP_ASSIGN_OR_RETURN(const Letters letters, LettersOf(program, op));
  TP_ASSIGN_OR_RETURN(const auto sizes, letters.Sizes(ShapesOf(program, op), NamesOf(program, op)));
  TP_ASSIGN_OR_RETURN(const DType own, TypeOf(program, op));
  std::vector<Value> outputs;
  if (letters.outputs().size() > op.def->types.size()) {
    return InvalidArgument("has " + std::to_string(letters.outputs().size()) +
                           " outputs; an op has at most " + std::to_string(op.def->types.size()));
  }
  for (Shape& shape : letters.OutputShapes(sizes)) {
    TP_ASSIGN_OR_RETURN(const DType dtype, OutputType(op, op.def->types.at(outputs.size()), own));
    TP_RETURN_IF_ERROR(CheckRank("an output", shape));
    outputs.push_back({"", std::move(shape), dtype, {}});
  }
  std::vector<const Placements*> of_operands;
  for (ValueId id : op.inputs) of_operands.push_back(&program.value(id).placements);
  for (const Axis& axis : AxesOf(of_operands)) {
    std::vector<Placement> on;
    for (const Placements* placements : of_operands) on.push_back((*placements)[axis]);
    const auto rule = letters.Rule(on, op.def->whole, op.def->linear, op.def->reductions);
    if (!rule) return NoRule(program, op, letters, axis);
    for (size_t i = 0; i < outputs.size(); ++i) outputs[i].placements.Set(axis, (*rule)[i]);
  }
  TP_RETURN_IF_ERROR(OrderCuts(program, op, letters, outputs));
  return outputs;
}

Status CheckTypes(const Program& program, const Op& op) {
  if (op.def->role != OpRole::kCompute) {
    const size_t inputs = op.Is(kRedistribute) ? 1 : 0;
    if (op.inputs.size() != inputs || op.outputs.size() != 1) {
      return InvalidArgument("has a wrong number of inputs or outputs");
    }
    TP_RETURN_IF_ERROR(CheckAttributes(op));
    return CheckDeclared(program, op);
  }
  TP_ASSIGN_OR_RETURN(const std::vector<Value> expected, InferOutputs(program, op));
  if (expected.size() != op.outputs.size()) {
    return InvalidArgument("yields " + std::to_string(expected.size()) + " values, not " +
                           std::to_string(op.outputs.size()));
  }
  for (size_t i = 0; i < expected.size(); ++i) {
    const Value& actual = program.value(op.outputs[i]);
    if (actual.shape != expected[i].shape || actual.dtype != expected[i].dtype ||
        actual.placements != expected[i].placements) {
      return InvalidArgument("'" + actual.name + "' is declared " +
                             std::string(Name(actual.dtype)) + " " + ToString(actual.shape) + " " +
                             ToString(actual.placements) + ", but the rule gives " +
                             std::string(Name(expected[i].dtype)) + " " +
                             ToString(expected[i].shape) + " " + ToString(expected[i].placements));
    }
  }
  return OkStatus();
}

}  // namespace tp
