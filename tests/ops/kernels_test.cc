// Walks the list of ops: each one's kernel on the CPU against its reference, over all placements
// that its letters allow on an axis of 1 to 4 ranks, in all types, with shards that are uneven or
// empty, on views as lowering makes them and in other orders with gaps.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/ops/letters.h"
#include "tests/ops/trial.h"
#include "tp/ops/all.h"

namespace tp {
namespace {

// By letter in order of appearance: sizes that 2, 3 and 4 ranks do not divide, that some of them
// exceed, and none at all.
const std::vector<std::vector<int64_t>> kSizes = {{3, 5, 2, 4}, {7, 1, 6, 2}, {2, 3, 0, 3}};

std::vector<Shape> ShapesFor(const Letters& letters, const std::vector<int64_t>& pick,
                             const std::vector<int64_t>& any) {
  std::string known;
  std::vector<Shape> shapes;
  for (const std::string& dims : letters.operands()) {
    Shape shape;
    for (char letter : dims) {
      if (letter == '*') {
        shape.insert(shape.end(), any.begin(), any.end());
        continue;
      }
      if (known.find(letter) == std::string::npos) known += letter;
      shape.push_back(pick[known.find(letter) % pick.size()]);
    }
    shapes.push_back(std::move(shape));
  }
  return shapes;
}

// Calls f(on) for every way in which the operands may lie on one axis.
template <typename F>
void ForEachPlacement(const OpDef& def, const Letters& letters, std::vector<Placement>& on,
                      const F& f) {
  const std::vector<std::string> operands = letters.operands();
  if (on.size() == operands.size()) {
    if (letters.Rule(on, def.whole, def.linear, def.reductions)) f(on);
    return;
  }
  std::vector<Placement> choices = {Replicate(), Partial()};
  for (size_t d = 0; d < operands[on.size()].size(); ++d) {
    choices.push_back(Shard(static_cast<int>(d)));
  }
  for (Placement choice : choices) {
    on.push_back(choice);
    ForEachPlacement(def, letters, on, f);
    on.pop_back();
  }
}

class EachKernel : public testing::TestWithParam<const OpDef*> {};

TEST_P(EachKernel, ComputesItsReferenceOverAllPlacements) {
  const OpDef& def = *GetParam();
  int runs = 0;
  for (const std::string& text : LettersToTry(def)) {
    const Letters written = Letters::Parse(text).value();
    for (size_t s = 0; s < kSizes.size(); ++s) {
      KernelTrial trial;
      trial.def = &def;
      trial.attributes = AttributesFor(def, text);
      trial.shapes = ShapesFor(written, kSizes[s], {kSizes[s][1], kSizes[s][2]});
      const Letters letters =
          written.For(trial.shapes, std::vector<std::string>(trial.shapes.size())).value();
      std::vector<Placement> on;
      ForEachPlacement(def, letters, on, [&](const std::vector<Placement>& allowed) {
        trial.on = allowed;
        for (trial.ranks = 1; trial.ranks <= 4; ++trial.ranks) {
          for (DType dtype : kAllDTypes) {
            trial.dtype = dtype;
            for (trial.layout = 0; trial.layout < 3; ++trial.layout) {
              const std::string wrong = RunTrial(trial);
              ASSERT_EQ(wrong, "") << ToString(trial);
              ++runs;
            }
          }
        }
      });
      if (HasFatalFailure()) return;
    }
  }
  EXPECT_GT(runs, 100);
}

INSTANTIATE_TEST_SUITE_P(Ops, EachKernel, testing::ValuesIn(AllOps().begin(), AllOps().end()),
                         [](const auto& param) { return std::string(param.param->name); });

}  // namespace
}  // namespace tp
