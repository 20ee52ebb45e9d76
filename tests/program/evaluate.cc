#include "tests/program/evaluate.h"

#include <glog/logging.h>

#include <algorithm>

namespace tp {
namespace {

using Tensor = std::vector<double>;

class Evaluation {
 public:
  Evaluation(const Program& program, const Sources& sources)
      : program_(program), sources_(sources), values_(program.values().size()) {}

  std::vector<Tensor> Run() {
    for (const Op& op : program_.ops()) Evaluate(op);
    return std::move(values_);
  }

 private:
  const Tensor& In(const Op& op, size_t i) const { return values_[op.inputs[i]]; }

  void Evaluate(const Op& op) {
    if (op.IsSource()) {
      values_[op.outputs[0]] = Fed(program_.value(op.outputs[0]));
      return;
    }
    if (op.Is(kRedistribute)) {
      values_[op.outputs[0]] = values_[op.inputs[0]];
      return;
    }
    std::vector<Tensor> in;
    std::vector<Shape> shapes;
    for (ValueId id : op.inputs) {
      in.push_back(values_[id]);
      shapes.push_back(program_.value(id).shape);
    }
    std::vector<Tensor> out = EvaluateOp(*op.def, op.attributes, shapes, std::move(in));
    for (size_t i = 0; i < out.size(); ++i) values_[op.outputs[i]] = std::move(out[i]);
  }

  Tensor Fed(const Value& value) const {
    CHECK(sources_.contains(value.name)) << value.name;
    Tensor out;
    for (int64_t i = 0; i < NumElements(value.shape); ++i) {
      out.push_back(sources_.at(value.name)(i));
    }
    return out;
  }

  const Program& program_;
  const Sources& sources_;
  std::vector<Tensor> values_;
};

template <typename T>
std::vector<std::vector<T>> RunReference(const OpDef& def, const Attributes& attributes,
                                         const std::vector<Shape>& shapes,
                                         std::vector<std::vector<T>> in,
                                         void (*reference)(ReferenceCall<T>&),
                                         const std::vector<LetterPart>& parts = {}) {
  const std::vector<std::string> names(shapes.size(), "operand");
  const std::string_view text = def.letters.empty() ? attributes.Text("letters") : def.letters;
  const Letters letters = Letters::Parse(text).value().For(shapes, names).value();
  const std::map<char, int64_t> sizes = letters.Sizes(shapes, names).value();
  ReferenceCall<T> call{letters, sizes, attributes, std::move(in), {}};
  for (const LetterPart& part : parts) {
    call.begin[part.letter] = part.begin;
    call.whole[part.letter] = part.whole;
  }
  for (const Shape& shape : letters.OutputShapes(sizes)) call.out.emplace_back(NumElements(shape));
  reference(call);
  return std::move(call.out);
}

}  // namespace

std::vector<std::vector<double>> EvaluateOp(const OpDef& def, const Attributes& attributes,
                                            const std::vector<Shape>& shapes,
                                            std::vector<std::vector<double>> in,
                                            const std::vector<LetterPart>& parts) {
  return RunReference<double>(def, attributes, shapes, std::move(in), def.reference.in_double,
                              parts);
}

std::vector<std::vector<BoundedNumber>> EvaluateOp(const OpDef& def, const Attributes& attributes,
                                                   const std::vector<Shape>& shapes,
                                                   std::vector<std::vector<BoundedNumber>> in) {
  return RunReference<BoundedNumber>(def, attributes, shapes, std::move(in),
                                     def.reference.in_bounded);
}

std::vector<std::vector<DualNumber>> EvaluateOp(const OpDef& def, const Attributes& attributes,
                                                const std::vector<Shape>& shapes,
                                                std::vector<std::vector<DualNumber>> in) {
  return RunReference<DualNumber>(def, attributes, shapes, std::move(in), def.reference.in_dual);
}

std::vector<std::vector<double>> Evaluate(const Program& program, const Sources& sources) {
  return Evaluation(program, sources).Run();
}

ValueId AfterStep(const Program& program, ValueId id) {
  const int update = program.UpdateOf(id);
  if (update < 0) return id;
  const Op& op = program.ops()[update];
  const auto operand = std::find(op.inputs.begin(), op.inputs.end(), id);
  return op.outputs[operand - op.inputs.begin()];
}

}  // namespace tp
