#include "tp/program/program.h"

#include <glog/logging.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>

#include "tp/program/typing.h"

namespace tp {

std::string_view Name(Phase phase) {
  switch (phase) {
    case Phase::kForward:
      return "forward";
    case Phase::kBackward:
      return "backward";
    case Phase::kGradientSync:
      return "gradient_sync";
    case Phase::kOptimizer:
      return "optimizer";
  }
  LOG(FATAL) << "no such phase: " << static_cast<int>(phase);
}

bool Program::IsSumTree(ValueId id) const {
  return sum_order_ == SumOrder::kInvariant && !ops_[DefinitionOf(id)].def->blocked.name.empty() &&
         std::ranges::any_of(value(id).placements.entries(),
                             [](const auto& entry) { return IsPartial(entry.placement); });
}

namespace {

// The letters without their names: "mk,kn -> mn" as "ab,bc -> ac".
std::string Renamed(const std::string& letters) {
  std::map<char, char> names;
  std::string text = letters;
  for (char& c : text) {
    if (c < 'a' || c > 'z') continue;
    c = names.try_emplace(c, static_cast<char>('a' + names.size())).first->second;
  }
  return text;
}

// Which of its two operands enter a product of matrices as their transpose, or nothing where the op
// is no such product.
std::optional<std::array<bool, 2>> TransposedOf(const Op& op) {
  if (!op.def->letters.empty() || !op.attributes.Has("letters")) return std::nullopt;
  const std::string letters = Renamed(op.attributes.Text("letters"));
  for (bool a : {false, true}) {
    for (bool b : {false, true}) {
      const std::string product = std::string(a ? "km" : "mk") + "," + (b ? "nk" : "kn");
      for (const char* bias : {"", " + n"}) {
        if (letters == Renamed(product + bias + " -> mn")) return {{a, b}};
      }
    }
  }
  return std::nullopt;
}

// "matmul(x, w^T": the op with its operands.
std::string DescribeOperands(const Program& program, const Op& op) {
  std::string text(op.def->name);
  text += "(";
  const auto transposed = TransposedOf(op);
  for (size_t i = 0; i < op.inputs.size(); ++i) {
    if (i > 0) text += ", ";
    const ValueId id = op.inputs[i];
    const bool known = id >= 0 && id < static_cast<int>(program.values().size());
    text += known ? program.value(id).name : "value " + std::to_string(id);
    if (transposed && i < 2 && (*transposed)[i]) text += "^T";
  }
  return text;
}

std::string Describe(const Program& program, const Op& op) {
  return DescribeOperands(program, op) + ")";
}

// With its attributes too, but for letters that the operands show.
std::string DescribeInFull(const Program& program, const Op& op) {
  Attributes attributes;
  for (const auto& [name, value] : op.attributes.entries()) {
    if (name != "letters" || !TransposedOf(op)) attributes.Set(name, value);
  }
  std::string text = DescribeOperands(program, op);
  const std::string told = ToString(attributes);
  if (!told.empty()) text += (op.inputs.empty() ? "" : ", ") + told;
  return text + ")";
}

// Whether `op` makes whole values, or shards of them, of partial sums.
bool CompletesSums(const Program& program, const Op& op) {
  if (!op.Is(kRedistribute)) return false;
  const Placements& to = program.value(op.outputs[0]).placements;
  return std::ranges::all_of(
      program.value(op.inputs[0]).placements.entries(),
      [&](const auto& entry) { return !IsPartial(entry.placement) || !IsPartial(to[entry.axis]); });
}

// What the tree of the invariant order adds up are whole terms: parts of them that lie on several
// ranks have no place on it.
Status VerifyWholeTerms(const Program& program, const Op& op) {
  if (program.sum_order() != SumOrder::kInvariant || op.def->blocked.name.empty()) {
    return OkStatus();
  }
  for (ValueId id : op.inputs) {
    for (const auto& [axis, placement] : program.value(id).placements.entries()) {
      if (!IsPartial(placement)) continue;
      return InvalidArgument("sums '" + program.value(id).name +
                             "' in the invariant order, which is Partial on " +
                             std::string(Name(axis)) + "; redistribute it to Replicate first");
    }
  }
  return OkStatus();
}

// A tree is completed over one axis: its nodes on several have no way to meet.
Status VerifyOneAxisOfSums(const Program& program, const Op& op) {
  for (ValueId id : op.outputs) {
    if (program.sum_order() != SumOrder::kInvariant || op.def->blocked.name.empty()) continue;
    std::string axes;
    int count = 0;
    for (const auto& [axis, placement] : program.value(id).placements.entries()) {
      if (!IsPartial(placement)) continue;
      axes += (count++ > 0 ? " and " : "") + std::string(Name(axis));
    }
    if (count < 2) continue;
    return InvalidArgument("the invariant order of sums takes sums over one axis of the mesh; '" +
                           program.value(id).name + "' is Partial on " + axes);
  }
  return OkStatus();
}

Status VerifyOp(const Program& program, const Op& op, std::vector<bool>& written,
                std::vector<bool>& updated) {
  const int num_values = static_cast<int>(program.values().size());
  for (ValueId id : op.inputs) {
    if (id < 0 || id >= num_values) return InvalidArgument("an input is no value of the program");
    if (!written[id]) return InvalidArgument("reads '" + program.value(id).name + "' too early");
    if (updated[id]) {
      return InvalidArgument("reads '" + program.value(id).name +
                             "' after the update of its memory");
    }
    if (program.IsSumTree(id) && !CompletesSums(program, op)) {
      return InvalidArgument("reads '" + program.value(id).name +
                             "', partial sums in the invariant order, which are to be "
                             "redistributed first");
    }
  }
  if (program.sum_order() == SumOrder::kInvariant && !op.def->blocked.name.empty() &&
      op.inputs.size() == 3) {
    return InvalidArgument("adds to a product, which the invariant order does to a finished one");
  }
  TP_RETURN_IF_ERROR(VerifyWholeTerms(program, op));
  for (ValueId id : op.outputs) {
    if (id < 0 || id >= num_values) return InvalidArgument("an output is no value of the program");
    if (written[id]) return InvalidArgument("'" + program.value(id).name + "' is written twice");
    written[id] = true;
  }
  TP_RETURN_IF_ERROR(CheckTypes(program, op));
  TP_RETURN_IF_ERROR(VerifyOneAxisOfSums(program, op));
  for (int i = 0; i < op.def->updates; ++i) {
    const ValueId parameter = op.inputs[i];
    if (!program.ops()[program.DefinitionOf(parameter)].Is(kParameter)) {
      return InvalidArgument("'" + program.value(parameter).name + "' is no parameter");
    }
    if (updated[parameter]) {
      return InvalidArgument("updates '" + program.value(parameter).name + "' twice");
    }
    for (ValueId id : program.SharersOf(parameter)) updated[id] = true;
  }
  return OkStatus();
}

Status VerifyNames(const Program& program) {
  std::map<std::string_view, ValueId> named;
  for (const Op& op : program.ops()) {
    for (ValueId id : op.outputs) {
      if (id < 0 || id >= static_cast<int>(program.values().size())) continue;  // said later
      const std::string& name = program.value(id).name;
      Status status;
      if (name.empty()) {
        status = InvalidArgument("an output has no name");
      } else if (named.emplace(name, id).first->second != id) {
        status = InvalidArgument("two values are called '" + name +
                                 "'; give each a name of its own, such as 'layers.3." + name + "'");
      }
      if (!status.ok()) return status.WithContext(Describe(program, op));
    }
  }
  return OkStatus();
}

}  // namespace

Status Verify(const Program& program) {
  std::vector<bool> written(program.values().size());
  std::vector<bool> updated(program.values().size());
  TP_RETURN_IF_ERROR(VerifyNames(program));
  for (const Op& op : program.ops()) {
    Status status = VerifyOp(program, op, written, updated);
    if (!status.ok()) return status.WithContext(Describe(program, op));
  }
  for (ValueId id : program.results()) {
    if (id < 0 || id >= static_cast<int>(written.size()) || !written[id]) {
      return InvalidArgument("result " + std::to_string(id) + " is written by no op");
    }
    if (program.IsSumTree(id)) {
      return InvalidArgument("result '" + program.value(id).name +
                             "' is partial sums in the invariant order, which are to be "
                             "redistributed to Replicate first");
    }
    if (updated[id]) {
      return InvalidArgument("result '" + program.value(id).name +
                             "' is overwritten by a parameter's update");
    }
  }
  return OkStatus();
}

std::string ToString(const Program& program, const Op& op) {
  std::string text;
  for (size_t i = 0; i < op.outputs.size(); ++i) {
    const Value& value = program.value(op.outputs[i]);
    if (i > 0) text += ", ";
    text += value.name + ": " + std::string(Name(value.dtype)) + " " + ToString(value.shape) + " " +
            ToString(value.placements);
  }
  return text + " = " + DescribeInFull(program, op) + "  # " + std::string(Name(op.phase));
}

std::string ToString(const Program& program) {
  std::string text;
  if (program.sum_order() != SumOrder::kFast) {
    text += "sum order " + std::string(Name(program.sum_order())) + "\n";
  }
  for (const Op& op : program.ops()) text += ToString(program, op) + "\n";
  for (size_t i = 0; i < program.results().size(); ++i) {
    text += (i == 0 ? "result " : ", ") + program.value(program.results()[i]).name;
  }
  if (!program.results().empty()) text += "\n";
  return text;
}

}  // namespace tp
