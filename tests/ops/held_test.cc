// Walks the list of ops: each one's kernel on the CPU, held against its reference within the bound
// that follows from it, in every type, over all placements that its letters allow, on shards that
// are uneven and empty.
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "backends/cpu/backend.h"
#include "backends/cpu/functions.h"
#include "tests/program/programs.h"
#include "tp/core/random.h"
#include "tp/ops/ops.h"
#include "tp/program/typing.h"
#include "tp/verify/observe.h"
#include "tp/verify/op_by_op.h"

namespace tp {
namespace {

// Of ops without letters of their own.
const std::vector<std::string> kOwnLetters = {"mk,kn -> mn", "km,kn -> mn", "mk,nk -> mn",
                                              "mk,kn + n -> mn"};

class EachOp : public testing::TestWithParam<const OpDef*> {};

// Each letter has a size of its own; "*" is two dimensions. The first is too small for four ranks.
std::vector<Shape> ShapesFor(const Letters& letters) {
  constexpr int64_t kSizes[] = {3, 11, 6};
  std::map<char, int64_t> sizes;
  std::vector<Shape> shapes;
  for (const std::string& dims : letters.operands()) {
    Shape shape;
    for (char letter : dims) {
      if (letter == '*') {
        shape.insert(shape.end(), {3, 11});
      } else {
        shape.push_back(sizes.emplace(letter, kSizes[sizes.size() % 3]).first->second);
      }
    }
    shapes.push_back(std::move(shape));
  }
  return shapes;
}

// A program of the op alone on operands that lie so on tp, or nothing where its rule forbids it.
// What an op updates in place is a parameter.
StatusOr<Program> ProgramOf(const OpDef& def, const std::string& letters, DType dtype,
                            const std::vector<Shape>& shapes,
                            const std::vector<Placement>& placements) {
  Program program;
  Op op{.def = &def};
  if (def.letters.empty()) op.attributes.Set("letters", letters);
  for (const AttributeDef& attribute : def.attributes) {
    if (!attribute.name.empty()) op.attributes.Set(attribute.name, 0.3);
  }
  for (size_t i = 0; i < shapes.size(); ++i) {
    const Value value{"in" + std::to_string(i), shapes[i], dtype, On(Axis::kTp, placements[i])};
    const auto add = static_cast<int>(i) == def.updates ? AddParameter : AddInput;
    TP_ASSIGN_OR_RETURN(const ValueId id, add(program, value));
    op.inputs.push_back(id);
  }
  TP_ASSIGN_OR_RETURN(const std::vector<Value> outputs, InferOutputs(program, op));
  for (Value out : outputs) {
    out.name = "out" + std::to_string(op.outputs.size());
    op.outputs.push_back(program.AddValue(out));
  }
  program.AddOp(std::move(op));
  TP_RETURN_IF_ERROR(Verify(program));
  return program;
}

// Every choice of a placement for each operand.
std::vector<std::vector<Placement>> AllChoices(size_t operands) {
  std::vector<std::vector<Placement>> choices = {{}};
  for (size_t i = 0; i < operands; ++i) {
    std::vector<std::vector<Placement>> longer;
    for (const auto& choice : choices) {
      for (Placement placement : AllPlacements()) {
        longer.push_back(choice);
        longer.back().push_back(placement);
      }
    }
    choices = std::move(longer);
  }
  return choices;
}

TEST_P(EachOp, StaysWithinTheBoundOfItsReference) {
  const OpDef& def = *GetParam();
  const auto all =
      def.letters.empty() ? kOwnLetters : std::vector<std::string>{std::string(def.letters)};
  cpu::CpuBackendOptions seeded;
  seeded.scheduler = cpu::SchedulerKind::kSeeded;
  const auto backend = cpu::MakeCpuBackend(seeded);
  const Mesh mesh = Mesh::Create(4, 1).value();
  const bool stored_narrow = def.types[0] == TypeRule::kSame;
  int held = 0;
  double worst = 0;
  for (const std::string& letters : all) {
    const std::vector<Shape> shapes = ShapesFor(Letters::Parse(letters).value());
    for (DType dtype : kAllDTypes) {
      for (const auto& placements : AllChoices(shapes.size())) {
        const StatusOr<Program> program = ProgramOf(def, letters, dtype, shapes, placements);
        if (!program.ok()) continue;
        SCOPED_TRACE(ToString(*program));
        std::map<std::string, std::function<double(int64_t)>> sources;
        for (size_t i = 0; i < shapes.size(); ++i) {
          const RandomTensor random(/*seed=*/5, i);
          sources["in" + std::to_string(i)] = [random](int64_t index) {
            return random.Uniform(static_cast<uint64_t>(index));
          };
        }
        const auto observed = verify::Observe(*backend, mesh, *program, sources);
        ASSERT_TRUE(observed.ok()) << observed.status().ToString();
        verify::OpByOpOptions options;
        options.arithmetic.functions = cpu::ErrorsOfFunctions();
        const auto report = verify::VerifyOpByOp(*program, mesh, *observed, options);
        ASSERT_TRUE(report.ok()) << report.status().ToString();
        EXPECT_EQ(report->outcome(), verify::Outcome::kOk) << verify::ToString(*report);
        worst = std::max(worst, report->worst_ratio());
        ++held;
      }
    }
  }
  EXPECT_GE(held, 8);
  // What is stored narrow comes near its bound; a loss that is added up in double, where fp32 would
  // do, stays far below.
  EXPECT_GT(worst, stored_narrow ? 0.5 : 0.01);
}

INSTANTIATE_TEST_SUITE_P(Ops, EachOp, testing::ValuesIn(AllOps().begin(), AllOps().end()),
                         [](const auto& param) { return std::string(param.param->name); });

}  // namespace
}  // namespace tp
