// Walks the list of ops: what each must have, and whether its reverse rule is its derivative.
#include "tp/ops/ops.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "backends/cpu/kernels/all.h"
#include "tests/ops/letters.h"
#include "tests/ops/trial.h"
#include "tests/program/evaluate.h"
#include "tests/program/programs.h"
#include "tp/autodiff/backward.h"
#include "tp/core/roundoff.h"
#include "tp/ops/all.h"
#include "tp/program/typing.h"

namespace tp {
namespace {

class EachOp : public testing::TestWithParam<const OpDef*> {
 protected:
  const OpDef& def() const { return *GetParam(); }
};

TEST_P(EachOp, HasAllThatAnOpMustHave) {
  EXPECT_FALSE(def().name.empty());
  EXPECT_TRUE(def().reference) << "no reference: what does it mean?";
  EXPECT_NE(def().reverse == nullptr, def().no_reverse.empty())
      << "either a reverse rule, or why it has none";
  for (const std::string& letters : LettersToTry(def())) {
    EXPECT_TRUE(Letters::Parse(letters).ok()) << letters;
  }
  EXPECT_NE(cpu::FindKernel(def().action()), nullptr) << "the CPU backend has no kernel";
  const bool has_ids = std::find(def().operands.begin(), def().operands.end(), TypeRule::kInt32) !=
                       def().operands.end();
  EXPECT_TRUE(def().reverse != nullptr || def().no_gradient_of == 0);
  EXPECT_TRUE(has_ids || def().ids_of == 0) << "there are no ids to be indices";
  const bool follows_order = !def().blocked.name.empty();
  EXPECT_TRUE(!follows_order || cpu::FindKernel(def().blocked) != nullptr);
}

// Shapes in which every letter has a size of its own; "*" is two dimensions.
std::vector<Shape> ShapesFor(const Letters& letters) {
  std::map<char, int64_t> sizes;
  std::vector<Shape> shapes;
  for (const std::string& dims : letters.operands()) {
    Shape shape;
    for (char letter : dims) {
      if (letter == '*') {
        shape.insert(shape.end(), {2, 3});
        continue;
      }
      const auto next = static_cast<int64_t>(sizes.size()) % 4 + 2;
      shape.push_back(sizes.emplace(letter, next).first->second);
    }
    shapes.push_back(std::move(shape));
  }
  return shapes;
}

// Small integers, so that what has no elementary functions is exact.
double Element(size_t tensor, int64_t i) {
  return static_cast<double>((static_cast<int64_t>(tensor) * 3 + i * 7) % 11 - 5);
}

// What the two sides may differ by: their terms are sums and products of elements, and no element
// takes more operations than there are pairs of elements.
double Bound(const std::vector<std::vector<DualNumber>>& in,
             const std::vector<std::vector<DualNumber>>& out, double terms) {
  double elements = 0;
  for (const auto* tensors : {&in, &out}) {
    for (const auto& tensor : *tensors) elements += static_cast<double>(tensor.size());
  }
  return Gamma(elements * elements, UnitRoundoff(DType::kFloat64)) * terms;
}

// What comes back to an output that the rule knows nothing of is refused, and not left out.
void ExpectNoGradientThroughOthers(const OpDef& def, const Program& program,
                                   const std::vector<ValueId>& outputs,
                                   const std::vector<ValueId>& inputs) {
  for (size_t i = 1; i < outputs.size(); ++i) {
    Program trial = program;
    const Value other = trial.value(outputs[i]);
    const ValueId t = Input(trial, "t1", other.shape, {}, other.dtype);
    const ValueId loss = AddMseLoss(trial, Phase::kForward, "loss1", outputs[i], t, 0.5).value();
    const std::string message = AddBackward(trial, loss, {inputs[0]}).status().message();
    const bool constant = (def.constant >> i & 1) != 0;
    EXPECT_NE(message.find(constant ? "does not depend on" : "takes no gradient of output"),
              std::string::npos)
        << i << ": " << message;
  }
}

// <J v, u> = <v, J^T u>: J v by the reference in dual numbers, J^T u by the reverse pass of
// sum((y - t)^2) / 2, whose gradient in y is u = y - t.
void ExpectDerivative(const OpDef& def, const std::string& text, const Attributes& attributes) {
  const std::vector<Shape> shapes = ShapesFor(Letters::Parse(text).value());
  Program program;
  Sources sources;
  std::vector<ValueId> inputs;
  std::vector<std::vector<DualNumber>> dual;
  for (size_t i = 0; i < shapes.size(); ++i) {
    const std::string name = "in" + std::to_string(i);
    const bool ids = def.operands.at(i) == TypeRule::kInt32;
    inputs.push_back(ids ? Input(program, name, shapes[i], {}, DType::kInt32)
                         : Parameter(program, name, shapes[i], {}, DType::kFloat64));
    const int64_t most = IdsOf(def, attributes, shapes);
    sources[name] = [&def, i, ids, most](int64_t element) {
      return ids || (def.positive >> i & 1) != 0 ? TrialElement(def, i, element, most)
                                                 : Element(i, element);
    };
    dual.emplace_back();
    for (int64_t e = 0; e < NumElements(shapes[i]); ++e) {
      dual.back().push_back({sources[name](e), ids ? 0 : Element(i + 10, e)});  // v
    }
  }
  std::vector<std::string> names = {"y"};
  while (names.size() < Letters::Parse(text).value().outputs().size()) {
    names.push_back("y" + std::to_string(names.size()));
  }
  const auto outputs = AddOp(program, Phase::kForward, names, def, inputs, attributes);
  ASSERT_TRUE(outputs.ok()) << outputs.status().ToString();
  const ValueId* const y = outputs->data();  // the one that a loss is of
  const bool scalar = program.value(*y).shape.empty();
  sources["t"] = [](int64_t element) { return Element(20, element); };
  ValueId loss = *y;
  if (!scalar) {
    const ValueId t = Input(program, "t", program.value(*y).shape, {}, program.value(*y).dtype);
    loss = AddMseLoss(program, Phase::kForward, "loss", *y, t, 0.5).value();
  }
  ExpectNoGradientThroughOthers(def, program, *outputs, inputs);
  std::vector<ValueId> wrt;
  for (size_t i = 0; i < inputs.size(); ++i) {
    Program trial = program;
    const bool given = def.operands.at(i) != TypeRule::kInt32 && (def.no_gradient_of >> i & 1) == 0;
    EXPECT_EQ(AddBackward(trial, loss, {inputs[i]}).ok(), given) << "of operand " << i;
    if (given) wrt.push_back(inputs[i]);
  }
  ASSERT_FALSE(wrt.empty());
  const auto gradients = AddBackward(program, loss, wrt);
  ASSERT_TRUE(gradients.ok()) << gradients.status().ToString();
  const auto values = Evaluate(program, sources);
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (std::find(wrt.begin(), wrt.end(), inputs[i]) != wrt.end()) continue;
    for (DualNumber& x : dual[i]) x.derivative = 0;
  }
  const auto out = EvaluateOp(def, attributes, shapes, dual);
  double forward = 0;
  double terms = 0;  // in absolute value
  for (size_t e = 0; e < out.at(0).size(); ++e) {
    const double u = scalar ? 1 : values[*y][e] - Element(20, static_cast<int64_t>(e));
    EXPECT_NEAR(out[0][e].value, values[*y][e], Bound(dual, out, std::abs(values[*y][e])));
    forward += out[0][e].derivative * u;
    terms += std::abs(out[0][e].derivative * u);
  }
  double reverse = 0;
  for (size_t k = 0; k < wrt.size(); ++k) {
    const auto i =
        static_cast<size_t>(std::find(inputs.begin(), inputs.end(), wrt[k]) - inputs.begin());
    EXPECT_EQ(program.value((*gradients)[k]).shape, shapes[i]);
    EXPECT_EQ(program.value((*gradients)[k]).dtype, DType::kFloat64);
    const auto& gradient = values[(*gradients)[k]];
    for (size_t e = 0; e < gradient.size(); ++e) {
      reverse += gradient[e] * dual[i][e].derivative;
      terms += std::abs(gradient[e] * dual[i][e].derivative);
    }
  }
  EXPECT_NE(forward, 0);
  EXPECT_NEAR(forward, reverse, Bound(dual, out, terms));
}

TEST_P(EachOp, ReversesToItsDerivative) {
  if (def().reverse == nullptr) return;  // and says why: see above
  for (const std::string& text : LettersToTry(def())) {
    for (const Attributes& attributes : AttributesToTry(def(), text)) {
      SCOPED_TRACE(text + " " + ToString(attributes));
      ExpectDerivative(def(), text, attributes);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Ops, EachOp, testing::ValuesIn(AllOps().begin(), AllOps().end()),
                         [](const auto& param) { return std::string(param.param->name); });

TEST(Ops, HaveNamesOfTheirOwn) {
  std::set<std::string_view> names;
  for (const OpDef* def : AllOps()) EXPECT_TRUE(names.insert(def->name).second) << def->name;
}

}  // namespace
}  // namespace tp
