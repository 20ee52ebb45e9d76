#include "tp/ops/parse.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tp/ops/all.h"
#include "tp/program/typing.h"

namespace tp {
namespace {

constexpr int64_t kMostElements = int64_t{1} << 60;

bool IsInName(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '.' || c == '-' || c == '/';
}

const OpDef* DefNamed(std::string_view name) {
  for (const OpDef* def : {&kInput, &kParameter, &kRedistribute}) {
    if (def->name == name) return def;
  }
  const auto ops = AllOps();
  const auto found =
      std::find_if(ops.begin(), ops.end(), [&](const OpDef* def) { return def->name == name; });
  return found == ops.end() ? nullptr : *found;
}

// The letters of a product of matrices [+ a bias] as ^T says it.
std::string LettersOfMatrices(bool transpose_a, bool transpose_b, bool bias) {
  return std::string(transpose_a ? "km" : "mk") + "," + (transpose_b ? "nk" : "kn") +
         (bias ? " + n" : "") + " -> mn";
}

class ProgramParser {
 public:
  explicit ProgramParser(std::string_view text) : text_(text) {}

  StatusOr<Program> Run() {
    while (at_ < text_.size()) {
      const size_t end = std::min(text_.find('\n', at_), text_.size());
      line_ = text_.substr(at_, end - at_);
      at_ = end + 1;
      column_ = 0;
      ++number_;
      SkipSpaces();
      if (AtEnd() || Peek() == '#') continue;
      TP_RETURN_IF_ERROR(Line());
      if (!AtEnd()) return Unexpected("the line's end");
    }
    return std::move(program_);
  }

 private:
  struct Output {
    Value value;
    size_t column = 0;
    bool typed = false;
  };

  Status Line() {
    const size_t begin = column_;
    TP_ASSIGN_OR_RETURN(std::string first, Name());
    SkipSpaces();
    if (first == "result" && !AtEnd() && IsInName(Peek())) return Results();
    if (first == "sum" && Take("order")) return Order();
    column_ = begin;
    return OpLine();
  }

  Status Order() {
    SkipSpaces();
    const size_t begin = column_;
    TP_ASSIGN_OR_RETURN(const std::string name, Name());
    const auto order = ParseSumOrder(name);
    if (!order) return Error(begin, "there is no sum order '" + name + "'");
    program_.set_sum_order(*order);
    return OkStatus();
  }

  Status Results() {
    do {
      TP_ASSIGN_OR_RETURN(const ValueId id, KnownValue());
      program_.AddResult(id);
    } while (Take(","));
    return OkStatus();
  }

  Status OpLine() {
    std::vector<Output> outputs;
    do {
      TP_ASSIGN_OR_RETURN(Output output, ParseOutput());
      for (const Output& other : outputs) {
        if (other.value.name != output.value.name) continue;
        return Error(output.column, "'" + output.value.name + "' is written twice");
      }
      outputs.push_back(std::move(output));
    } while (Take(","));
    TP_RETURN_IF_ERROR(Expect("="));
    SkipSpaces();
    const size_t begin = column_;
    Op op;
    TP_ASSIGN_OR_RETURN(const std::string name, Name());
    op.def = DefNamed(name);
    if (op.def == nullptr) return Error(begin, "there is no op '" + name + "'");
    TP_RETURN_IF_ERROR(Operands(op));
    if (Take("#")) TP_RETURN_IF_ERROR(ParsePhase(op));
    return Append(std::move(op), std::move(outputs), begin);
  }

  StatusOr<Output> ParseOutput() {
    Output output;
    SkipSpaces();
    output.column = column_;
    TP_ASSIGN_OR_RETURN(output.value.name, Name());
    if (named_.contains(output.value.name)) {
      return Error(output.column, "'" + output.value.name + "' is written twice");
    }
    if (!Take(":")) return output;
    output.typed = true;
    SkipSpaces();
    const size_t begin = column_;
    TP_ASSIGN_OR_RETURN(const std::string dtype, Name());
    const auto known = dtype == tp::Name(DType::kInt32) ? DType::kInt32 : ParseDType(dtype);
    if (!known) return Error(begin, "there is no element type '" + dtype + "'");
    output.value.dtype = *known;
    TP_RETURN_IF_ERROR(ParseShape(output.value.shape));
    TP_RETURN_IF_ERROR(ParsePlacements(output.value.placements));
    return output;
  }

  Status ParseShape(Shape& shape) {
    TP_RETURN_IF_ERROR(Expect("["));
    if (Take("]")) return OkStatus();
    int64_t elements = 1;
    do {
      SkipSpaces();
      const size_t begin = column_;
      TP_ASSIGN_OR_RETURN(const int64_t size, Number<int64_t>("a size"));
      if (size < 0 || size > kMostElements / std::max<int64_t>(elements, 1)) {
        return Error(begin, "a tensor has a size below 0, or too many elements");
      }
      elements *= size;
      shape.push_back(size);
    } while (Take(","));
    return Expect("]");
  }

  Status ParsePlacements(Placements& placements) {
    TP_RETURN_IF_ERROR(Expect("{"));
    std::set<Axis> told;
    do {
      SkipSpaces();
      const size_t begin = column_;
      TP_ASSIGN_OR_RETURN(const std::string name, Name());
      const StatusOr<Axis> axis = Axis::Named(name);
      if (!axis.ok()) return Error(begin, axis.status().message());
      if (!told.insert(*axis).second) return Error(begin, "'" + name + "' is told twice");
      TP_RETURN_IF_ERROR(Expect(":"));
      TP_ASSIGN_OR_RETURN(const Placement placement, ParsePlacement());
      if (!IsReplicate(placement) && placements.entries().size() == Mesh::kMostAxes) {
        return Error(begin, "at most " + std::to_string(Mesh::kMostAxes) +
                                " axes can be other than Replicate");
      }
      placements.Set(*axis, placement);
    } while (Take(","));
    return Expect("}");
  }

  StatusOr<Placement> ParsePlacement() {
    if (Take("Replicate")) return Replicate();
    if (Take("Partial(max)")) return Partial(Reduction::kMax);
    if (Take("Partial")) return Partial();
    if (!Take("Shard(")) return Unexpected("Replicate, Shard(dimension) or Partial");
    TP_ASSIGN_OR_RETURN(const int dim, Number<int>("a dimension"));
    TP_RETURN_IF_ERROR(Expect(")"));
    return Shard(dim);
  }

  // "(x, w^T, rate=0.5)"
  Status Operands(Op& op) {
    TP_RETURN_IF_ERROR(Expect("("));
    std::vector<bool> transposed;
    size_t first_transposed = 0;
    if (!Take(")")) {
      do {
        SkipSpaces();
        const size_t begin = column_;
        TP_ASSIGN_OR_RETURN(const std::string name, Name());
        if (Take("=")) {
          TP_RETURN_IF_ERROR(ParseAttribute(op, name, begin));
          continue;
        }
        if (!op.attributes.entries().empty()) {
          return Error(begin, "'" + name + "' comes behind an attribute; operands come first");
        }
        column_ = begin;
        TP_ASSIGN_OR_RETURN(const ValueId id, KnownValue());
        op.inputs.push_back(id);
        transposed.push_back(Take("^T"));
        if (transposed.back() && first_transposed == 0) first_transposed = column_;
      } while (Take(","));
      TP_RETURN_IF_ERROR(Expect(")"));
    }
    const bool any = std::find(transposed.begin(), transposed.end(), true) != transposed.end();
    const bool own_letters = op.def->letters.empty() && op.def->role == OpRole::kCompute;
    if (own_letters && !op.attributes.Has("letters")) {
      const bool product = op.inputs.size() == 2 || op.inputs.size() == 3;
      if (!product || (op.inputs.size() == 3 && transposed[2])) {
        return Error(column_, "a product of matrices has two operands and at most a bias");
      }
      op.attributes.Set("letters",
                        LettersOfMatrices(transposed[0], transposed[1], op.inputs.size() == 3));
    } else if (any) {
      return Error(first_transposed - 2, "^T is for products of matrices without letters");
    }
    return OkStatus();
  }

  Status ParseAttribute(Op& op, const std::string& name, size_t begin) {
    if (op.attributes.Has(name)) return Error(begin, "attribute '" + name + "' comes twice");
    const auto& defs = op.def->attributes;
    const auto def = std::find_if(defs.begin(), defs.end(),
                                  [&](const AttributeDef& d) { return d.name == name; });
    const bool letters = name == "letters" && op.def->letters.empty();
    if (!letters && def == defs.end()) {
      return Error(begin, std::string(op.def->name) + " has no attribute '" + name + "'");
    }
    SkipSpaces();
    if (letters || def->type == AttributeType::kText) {
      TP_ASSIGN_OR_RETURN(std::string value, Quoted());
      op.attributes.Set(name, std::move(value));
    } else if (def->type == AttributeType::kInteger) {
      TP_ASSIGN_OR_RETURN(const int64_t value, Number<int64_t>("an integer"));
      op.attributes.Set(name, value);
    } else {
      TP_ASSIGN_OR_RETURN(const double value, Number<double>("a number"));
      op.attributes.Set(name, value);
    }
    return OkStatus();
  }

  Status ParsePhase(Op& op) {
    SkipSpaces();
    const size_t begin = column_;
    TP_ASSIGN_OR_RETURN(const std::string name, Name());
    const auto phase = std::find_if(std::begin(kAllPhases), std::end(kAllPhases),
                                    [&](Phase p) { return tp::Name(p) == name; });
    if (phase == std::end(kAllPhases)) return Error(begin, "there is no phase '" + name + "'");
    op.phase = *phase;
    SkipSpaces();
    return OkStatus();
  }

  Status Append(Op op, std::vector<Output> outputs, size_t begin) {
    const bool untyped = std::any_of(outputs.begin(), outputs.end(),
                                     [](const Output& output) { return !output.typed; });
    std::vector<Value> inferred;
    if (untyped) {
      StatusOr<std::vector<Value>> rule = InferOutputs(program_, op);
      if (!rule.ok()) return Error(begin, rule.status().message());
      inferred = *std::move(rule);
      if (inferred.size() != outputs.size()) {
        return Error(begin, std::string(op.def->name) + " yields " +
                                std::to_string(inferred.size()) + " values");
      }
    }
    for (size_t i = 0; i < outputs.size(); ++i) {
      Value& value = outputs[i].value;
      if (!outputs[i].typed) {
        inferred[i].name = std::move(value.name);
        value = std::move(inferred[i]);
      }
      const std::string name = value.name;
      op.outputs.push_back(program_.AddValue(std::move(value)));
      named_[name] = op.outputs.back();
    }
    const Status status = CheckTypes(program_, op);
    if (!status.ok()) return Error(begin, status.message());
    program_.AddOp(std::move(op));
    return OkStatus();
  }

  StatusOr<ValueId> KnownValue() {
    SkipSpaces();
    const size_t begin = column_;
    TP_ASSIGN_OR_RETURN(const std::string name, Name());
    const auto found = named_.find(name);
    if (found == named_.end()) return Error(begin, "no line above writes '" + name + "'");
    return found->second;
  }

  // The rest is of one line.

  bool AtEnd() const { return column_ >= line_.size(); }
  char Peek() const { return line_[column_]; }
  void SkipSpaces() {
    while (!AtEnd() && (Peek() == ' ' || Peek() == '\t' || Peek() == '\r')) ++column_;
  }

  bool Take(std::string_view token) {
    SkipSpaces();
    if (!line_.substr(std::min(column_, line_.size())).starts_with(token)) return false;
    column_ += token.size();
    return true;
  }

  Status Expect(std::string_view token) {
    return Take(token) ? OkStatus() : Unexpected("'" + std::string(token) + "'");
  }

  StatusOr<std::string> Name() {
    SkipSpaces();
    const size_t begin = column_;
    while (!AtEnd() && IsInName(Peek())) ++column_;
    if (column_ == begin) return Unexpected("a name");
    return std::string(line_.substr(begin, column_ - begin));
  }

  template <typename T>
  StatusOr<T> Number(const char* what) {
    SkipSpaces();
    T number{};
    const auto [end, error] =
        std::from_chars(line_.data() + column_, line_.data() + line_.size(), number);
    if (error == std::errc::result_out_of_range) {
      return Error(column_, std::string(what) + " that is too large, or too small");
    }
    if (error != std::errc()) return Unexpected(what);
    column_ = static_cast<size_t>(end - line_.data());
    return number;
  }

  // 'text', in which \' and \\ stand for ' and \.
  StatusOr<std::string> Quoted() {
    const size_t begin = column_;
    TP_RETURN_IF_ERROR(Expect("'"));
    std::string value;
    while (!AtEnd() && Peek() != '\'') {
      if (Peek() == '\\') ++column_;
      if (!AtEnd()) value += Peek();
      ++column_;
    }
    if (AtEnd()) return Error(begin, "a text without an end");
    ++column_;
    return value;
  }

  Status Error(size_t column, const std::string& what) const {
    return InvalidArgument("line " + std::to_string(number_) + ", column " +
                           std::to_string(column + 1) + ": " + what);
  }

  Status Unexpected(const std::string& expected) const {
    std::string there = "the line's end";
    if (!AtEnd()) {
      const char c = Peek();
      there = c >= ' ' && c < 127 ? "'" + std::string(1, c) + "'" : "an unprintable character";
    }
    return Error(column_, "there should be " + expected + ", not " + there);
  }

  const std::string_view text_;
  size_t at_ = 0;  // where the next line begins
  std::string_view line_;
  size_t column_ = 0;
  int number_ = 0;
  Program program_;
  std::map<std::string, ValueId> named_;
};

}  // namespace

StatusOr<Program> ParseProgram(std::string_view text) { return ProgramParser(text).Run(); }

}  // namespace tp
